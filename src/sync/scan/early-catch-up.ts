// Starts the catch-up while the last pages of the windows are in flight, so that its answer takes no extra
// time. It counts only if no page was requested after it. Then it has seen everything that a later catch-up
// would have seen. Until that is known nothing of it is written, so a catch-up in vain leaves nothing behind.
import { TaskGroup } from '../../base/task-group.js';

export interface EarlyCatchUpOptions {
  readonly mayBegin: () => boolean;
  /** Lists it, until the signal aborts. Nothing is written before `mayWrite` resolves. */
  readonly list: (signal: AbortSignal, mayWrite: Promise<void>) => Promise<void>;
}

/** A catch-up is wasted if a page is requested after it. */
const maxBegun = 3;

interface Listing {
  readonly ended: Promise<void>;
  readonly mayWrite: () => void;
  readonly giveUp: () => void;
}

export class EarlyCatchUp {
  readonly #options: EarlyCatchUpOptions;
  readonly #group: TaskGroup;
  readonly #begun: Promise<void>[] = [];
  /** Undefined after a page that was requested since. */
  #last: Listing | undefined;

  constructor(options: EarlyCatchUpOptions, signal: AbortSignal) {
    this.#options = options;
    this.#group = new TaskGroup(signal);
  }

  /** A page of a window is requested: what was begun before is in vain. */
  pageAsked(): void {
    this.#last?.giveUp();
    this.#last = undefined;
  }

  /** Starts it, or restarts it if a page was requested since. */
  begin(): void {
    if (this.#last || this.#begun.length === maxBegun || !this.#options.mayBegin()) return;
    const inVain = new AbortController();
    let mayWrite = (): void => undefined;
    const written = new Promise<void>((resolve) => (mayWrite = resolve));
    const listing = this.#options.list(AbortSignal.any([this.#group.signal, inVain.signal]), written);
    const ended = this.#group.guard(
      listing.catch((error: unknown) => {
        if (!inVain.signal.aborted) throw error;
      }),
    );
    this.#last = { ended, mayWrite, giveUp: () => inVain.abort(new Error('A page was requested since')) };
    this.#begun.push(ended);
  }

  /**
   * Lists the windows concurrently. A fault of either stops both, and is thrown when both have ended.
   * @returns whether the catch-up is done; otherwise it is still to be listed
   */
  async beside(windows: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    await this.#group.guard(windows(this.#group.signal));
    this.#last?.mayWrite();
    await Promise.all(this.#begun);
    this.#group.signal.throwIfAborted();
    return this.#last !== undefined;
  }
}
