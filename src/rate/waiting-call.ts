// A call that waits for its turn, until it is let go, its signal aborts, its deadline passes or the limiter closes.
import type { ClockReading } from '../mongo/clock.js';
import type { CallPriority } from '../sync/ports.js';

/** What a call asks for. */
export interface Turn {
  /** Label of the endpoint, the scope of its rate. */
  readonly endpoint: string;
  readonly priority: CallPriority;
  readonly signal: AbortSignal;
  /** `performance.now()` at which waiting ends. */
  readonly deadlineAt: number;
}

/** Times of `performance.now()`. */
export interface GrantedSlot {
  readonly dueAt: number;
  readonly usableUntil: number;
  readonly reading: ClockReading;
}

export class Want {
  /** Fulfilled when the call is let go; rejects with the signal's reason or with what it was refused for. */
  readonly letGo: Promise<ClockReading>;
  /** Whether a place in flight is taken for it: from the time a slot is asked for until it is refused one, or is over. */
  hasPlace = false;
  /** Whether a slot is kept for it that it has not used yet. */
  hasSlot = false;
  #isOver = false;
  #hasMissed = false;
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

  /**
   * Has it go when its slot is due; until then it can still be refused. Where this process is busy until the slot can no longer be
   * used, `onMissed` is called instead, once: calls that go late go together with later ones, faster than the rate.
   */
  grant({ dueAt, usableUntil, reading }: GrantedSlot, onMissed: () => void): void {
    if (this.#isOver) return;
    this.hasSlot = true;
    const go = (): void => {
      if (performance.now() > usableUntil && !this.#hasMissed) {
        this.#hasMissed = true;
        onMissed();
        return;
      }
      this.hasSlot = false;
      this.#end();
      this.#resolve(reading);
    };
    const delayMs = Math.ceil(dueAt - performance.now());
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
