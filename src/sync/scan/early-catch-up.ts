// The catch-up, begun while the last pages of the windows are on their way, so that its answer is not waited for alone. It counts only where
// it was the last to be asked for: then it has seen whatever a catch-up after the windows would have seen, but for the time of one call.
import { Crew } from '../crew.js';

export interface EarlyCatchUpOptions {
  /** Whether what the catch-up lists again is in the mirror already, or its objects would be counted twice. */
  readonly mayBegin: () => boolean;
  /** Lists it, until the signal aborts. */
  readonly list: (signal: AbortSignal) => Promise<void>;
}

/** `in_vain`: nothing that it has found missing counts, and it is to be listed again. */
export type CaughtUp = 'done' | 'in_vain' | 'not_begun';

export class EarlyCatchUp {
  readonly #options: EarlyCatchUpOptions;
  readonly #crew: Crew;
  #listing: Promise<void> | undefined;
  #wasLast = false;

  constructor(options: EarlyCatchUpOptions, signal: AbortSignal) {
    this.#options = options;
    this.#crew = new Crew(signal);
  }

  /** A page of a window is asked for. */
  pageAsked(): void {
    this.#wasLast = false;
  }

  /** Begins it, once in a scan. */
  begin(): void {
    if (this.#listing || !this.#options.mayBegin()) return;
    this.#wasLast = true;
    this.#listing = this.#crew.guard(this.#options.list(this.#crew.signal));
  }

  /** Lists the windows beside it; a fault of either ends both, and is thrown when both have ended. */
  async beside(windows: (signal: AbortSignal) => Promise<void>): Promise<CaughtUp> {
    await this.#crew.guard(windows(this.#crew.signal));
    await this.#listing;
    this.#crew.signal.throwIfAborted();
    if (!this.#listing) return 'not_begun';
    return this.#wasLast ? 'done' : 'in_vain';
  }
}
