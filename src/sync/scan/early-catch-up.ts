// The catch-up, begun while the last pages of the windows are on their way, so that its answer is not waited for alone. It counts only where
// it was the last to be asked for: then it has seen whatever a catch-up after the windows would have seen, but for the time of one call.
import { Crew } from '../../base/task-group.js';

export interface EarlyCatchUpOptions {
  /** Whether what the catch-up lists again is in the mirror already, or its objects would be counted twice. */
  readonly mayBegin: () => boolean;
  /** Lists it, until the signal aborts. */
  readonly list: (signal: AbortSignal) => Promise<void>;
}

/** Each that is followed by a page is a call for nothing. */
const mostBegun = 3;

/** `in_vain`: nothing that it has found missing counts, and it is to be listed again. */
export type CaughtUp = 'done' | 'in_vain' | 'not_begun';

export class EarlyCatchUp {
  readonly #options: EarlyCatchUpOptions;
  readonly #crew: Crew;
  readonly #listings: Promise<void>[] = [];
  #wasLast = false;

  constructor(options: EarlyCatchUpOptions, signal: AbortSignal) {
    this.#options = options;
    this.#crew = new Crew(signal);
  }

  /** A page of a window is asked for. */
  pageAsked(): void {
    this.#wasLast = false;
  }

  /** Begins it; once more where a page followed, a few times in a scan. What an earlier one has found missing counts too: it is suspected, no more. */
  begin(): void {
    if (this.#wasLast || this.#listings.length === mostBegun || !this.#options.mayBegin()) return;
    this.#wasLast = true;
    this.#listings.push(this.#crew.guard(this.#options.list(this.#crew.signal)));
  }

  /** Lists the windows beside it; a fault of either ends both, and is thrown when both have ended. */
  async beside(windows: (signal: AbortSignal) => Promise<void>): Promise<CaughtUp> {
    await this.#crew.guard(windows(this.#crew.signal));
    await Promise.all(this.#listings);
    this.#crew.signal.throwIfAborted();
    if (this.#listings.length === 0) return 'not_begun';
    return this.#wasLast ? 'done' : 'in_vain';
  }
}
