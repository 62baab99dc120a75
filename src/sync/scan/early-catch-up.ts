// Starts the catch-up while the last pages of the windows are in flight, so that its answer takes no extra
// time. It counts only if no page was requested after it. Then it has seen everything that a later catch-up
// would have seen.
import { TaskGroup } from '../../base/task-group.js';

export interface EarlyCatchUpOptions {
  /** False while the mirror lacks objects that the catch-up would list again: they would be counted twice. */
  readonly mayBegin: () => boolean;
  /** Lists it, until the signal aborts. */
  readonly list: (signal: AbortSignal) => Promise<void>;
}

/** A catch-up is wasted if a page is requested after it. */
const maxBegun = 3;

/** `in_vain`: list it again; what it found missing does not count. */
export type CaughtUp = 'done' | 'in_vain' | 'not_begun';

export class EarlyCatchUp {
  readonly #options: EarlyCatchUpOptions;
  readonly #group: TaskGroup;
  readonly #listings: Promise<void>[] = [];
  #wasLast = false;

  constructor(options: EarlyCatchUpOptions, signal: AbortSignal) {
    this.#options = options;
    this.#group = new TaskGroup(signal);
  }

  /** A page of a window is requested. */
  pageAsked(): void {
    this.#wasLast = false;
  }

  /**
   * Starts it, or restarts it if a page was requested since. Objects that an earlier one found missing still
   * count, because they are only suspected.
   */
  begin(): void {
    if (this.#wasLast || this.#listings.length === maxBegun || !this.#options.mayBegin()) return;
    this.#wasLast = true;
    this.#listings.push(this.#group.guard(this.#options.list(this.#group.signal)));
  }

  /** Lists the windows concurrently. A fault of either stops both, and is thrown when both have ended. */
  async beside(windows: (signal: AbortSignal) => Promise<void>): Promise<CaughtUp> {
    await this.#group.guard(windows(this.#group.signal));
    await Promise.all(this.#listings);
    this.#group.signal.throwIfAborted();
    if (this.#listings.length === 0) return 'not_begun';
    return this.#wasLast ? 'done' : 'in_vain';
  }
}
