// Ctrl-C, pressed while the demo runs: ends it. Pressed while it is left running to play with: lets it stop in order.

/** `npm run` gets Ctrl-C from the terminal as we do, and passes it on to us: that is one press. */
const samePressMs = 500;

export class Interruption extends Error {
  constructor() {
    super('Interrupted');
  }
}

export class CtrlC {
  #lastMs = -Infinity;
  #interrupt: (interruption: Interruption) => void = () => undefined;
  #isInterrupted = false;
  #release: (() => void) | undefined;

  constructor() {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => this.#onSignal());
  }

  /** What `work` gives, or an Interruption thrown. Pressed once more after that, the process ends at once. */
  async unlessPressed(work: Promise<void>): Promise<void> {
    const interrupted = new Promise<never>((_resolve, reject) => {
      this.#interrupt = reject;
    });
    await Promise.race([work, interrupted]);
  }

  /** Resolves when it is pressed the next time, which is no interruption. */
  async awaited(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#release = resolve;
    });
  }

  #onSignal(): void {
    const nowMs = performance.now();
    const isSamePress = nowMs - this.#lastMs < samePressMs;
    this.#lastMs = nowMs;
    if (isSamePress) return;
    if (this.#isInterrupted) process.exit(interruptedCode);
    if (this.#release) {
      this.#release();
      this.#release = undefined;
    } else {
      this.#isInterrupted = true;
      this.#interrupt(new Interruption());
    }
  }
}

/** As a shell tells of a process that Ctrl-C has ended. */
export const interruptedCode = 130;
