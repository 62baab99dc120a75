// The catch-up, begun while the last pages of the windows are in flight, so that its own answer takes no
// extra time. It counts only if no page was requested after it: then it has seen what a catch-up after the
// windows would have seen.
import { TaskGroup } from '../../base/task-group.js';

export interface EarlyCatchUpOptions {
  /** False while objects that the catch-up lists again are not in the mirror: they would be counted twice. */
  readonly mayBegin: () => boolean;
  /** Lists it, until the signal aborts. */
  readonly list: (signal: AbortSignal) => Promise<void>;
}

/** Each catch-up that a page follows is a wasted call. */
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
   * Begins it, or begins it again if a page followed. What an earlier one found missing also counts: it is
   * only suspected.
   */
  begin(): void {
    if (this.#wasLast || this.#listings.length === maxBegun || !this.#options.mayBegin()) return;
    this.#wasLast = true;
    this.#listings.push(this.#group.guard(this.#options.list(this.#group.signal)));
  }

  /** Lists the windows beside it. A fault of either ends both, and is thrown when both have ended. */
  async beside(windows: (signal: AbortSignal) => Promise<void>): Promise<CaughtUp> {
    await this.#group.guard(windows(this.#group.signal));
    await Promise.all(this.#listings);
    this.#group.signal.throwIfAborted();
    if (this.#listings.length === 0) return 'not_begun';
    return this.#wasLast ? 'done' : 'in_vain';
  }
}
