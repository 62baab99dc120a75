// A call that waits for its slot, until it may start, its signal aborts, its deadline passes or the limiter
// closes.
import type { ClockReading } from '../mongo/clock.js';
import type { CallPriority } from '../sync/ports.js';

/** The demand of a call for a permit and a slot. */
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

export class WaitingCall {
  /**
   * Resolves when the call may start. Rejects with the signal's reason or with the fault that refuses the
   * call.
   */
  readonly started: Promise<ClockReading>;
  /**
   * Whether it holds a permit: from the question for a slot until no slot was granted, or until the call is
   * over.
   */
  hasPermit = false;
  /** Whether it has a slot that it has not used yet. */
  hasSlot = false;
  #isOver = false;
  #hasMissed = false;
  #resolve!: (reading: ClockReading) => void;
  #reject!: (reason: unknown) => void;
  readonly #deadline: NodeJS.Timeout;
  #slot: NodeJS.Timeout | undefined;

  /** @param lateFault makes the fault that it rejects with at its deadline */
  constructor(
    readonly turn: Turn,
    lateFault: () => Error,
  ) {
    this.started = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const leftMs = Math.max(0, turn.deadlineAt - performance.now());
    this.#deadline = setTimeout(() => this.refuse(lateFault()), leftMs);
    turn.signal.addEventListener('abort', this.#abort, { once: true });
  }

  /**
   * Starts the call when its slot is due; until then it can still be refused. If this process was too busy
   * and the slot has expired, `onMissed` is called instead, once. A late call would start together with later
   * ones, faster than the rate.
   */
  grant({ dueAt, usableUntil, reading }: GrantedSlot, onMissed: () => void): void {
    if (this.#isOver) return;
    this.hasSlot = true;
    const start = (): void => {
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
    if (delayMs > 0) this.#slot = setTimeout(start, delayMs);
    else start();
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
