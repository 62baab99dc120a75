// A call that waits for its turn, until it is let go, its signal aborts, its deadline passes or the limiter closes.
import type { CallPriority } from '../sync/ports.js';
import type { ClockReading } from './clock-bounds.js';

/** What a call asks for. */
export interface Turn {
  /** Label of the endpoint, the scope of its rate. */
  readonly endpoint: string;
  readonly priority: CallPriority;
  readonly signal: AbortSignal;
  /** `performance.now()` at which waiting ends. */
  readonly deadlineAt: number;
}

export class Want {
  /** Fulfilled when the call is let go; rejects with the signal's reason or with what it was refused for. */
  readonly letGo: Promise<ClockReading>;
  /** True from the moment it is granted: a place in flight is taken for it, though the time of its slot may still be ahead. */
  isGranted = false;
  #isOver = false;
  #resolve!: (reading: ClockReading) => void;
  #reject!: (reason: unknown) => void;
  readonly #deadline: NodeJS.Timeout;
  #slot: NodeJS.Timeout | undefined;

  /** @param whenLate gives the fault of its deadline */
  constructor(
    readonly turn: Turn,
    whenLate: () => Error,
  ) {
    this.letGo = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const leftMs = Math.max(0, turn.deadlineAt - performance.now());
    this.#deadline = setTimeout(() => this.refuse(whenLate()), leftMs);
    turn.signal.addEventListener('abort', this.#abort, { once: true });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Lets it go at `time` of `performance.now()`; until then it can still be refused. */
  grant(time: number, reading: ClockReading): void {
    this.isGranted = true;
    const go = (): void => {
      this.#end();
      this.#resolve(reading);
    };
    const delayMs = Math.ceil(time - performance.now());
    if (delayMs > 0) this.#slot = setTimeout(go, delayMs);
    else go();
  }

  refuse(reason: unknown): void {
    if (this.#isOver) return;
    this.#end();
    this.#reject(reason);
  }

  readonly #abort = (): void => this.refuse(this.turn.signal.reason);

  #end(): void {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#slot);
    this.turn.signal.removeEventListener('abort', this.#abort);
  }
}
