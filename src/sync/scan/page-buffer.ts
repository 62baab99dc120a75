// Between fetching and writing: pages wait here, a window's in their order, bounded in rows so that memory does not grow with the account.
import { EventEmitter, once } from 'node:events';
import type { Window } from './plan.js';
import type { Page } from './walk.js';

/** Rows that may wait; in its first seconds a process writes slower than it lists. A page on its way when the buffer fills still comes in. */
const maxRows = 4_000;
/** Rows that a writer takes at once. */
const maxRunRows = 500;

/** Consecutive pages of one window. */
export interface Run {
  readonly window: Window;
  readonly pages: readonly Page[];
}

export class PageBuffer {
  readonly #pages = new Map<Window, Page[]>();
  /** Windows that a writer is at: a window's pages are reconciled one run after the other. */
  readonly #busy = new Set<Window>();
  readonly #changed = new EventEmitter().setMaxListeners(0);
  #rows = 0;
  #isClosed = false;

  put(window: Window, page: Page): void {
    const queue = this.#pages.get(window);
    if (queue) queue.push(page);
    else this.#pages.set(window, [page]);
    this.#rows += page.objects.length;
    this.#changed.emit('change');
  }

  /** No more pages will come: writers end when the buffer is empty. */
  close(): void {
    this.#isClosed = true;
    this.#changed.emit('change');
  }

  /** Resolves when there is room; rejects with the signal's reason on abort. */
  async room(signal: AbortSignal): Promise<void> {
    while (this.#rows >= maxRows) await this.#change(signal);
  }

  /** The next run, or undefined after the last one. Its window is the caller's until `release`. */
  async take(signal: AbortSignal): Promise<Run | undefined> {
    for (;;) {
      signal.throwIfAborted();
      const run = this.#next();
      if (run) return run;
      if (this.#isClosed && this.#pages.size === 0) return undefined;
      await this.#change(signal);
    }
  }

  /** Gives a run's window free and its rows' room back. */
  release({ window, pages }: Run): void {
    this.#busy.delete(window);
    this.#rows -= pages.reduce((sum, { objects }) => sum + objects.length, 0);
    this.#changed.emit('change');
  }

  #next(): Run | undefined {
    for (const [window, queue] of this.#pages) {
      if (this.#busy.has(window)) continue;
      const pages = [queue.shift()].filter((page) => page !== undefined);
      let rows = pages[0]?.objects.length ?? 0;
      for (let page = queue[0]; page && rows + page.objects.length <= maxRunRows; page = queue[0]) {
        rows += page.objects.length;
        pages.push(page);
        queue.shift();
      }
      // Deleted and set anew, so that windows take turns.
      this.#pages.delete(window);
      if (queue.length > 0) this.#pages.set(window, queue);
      this.#busy.add(window);
      return { window, pages };
    }
    return undefined;
  }

  async #change(signal: AbortSignal): Promise<void> {
    await abortable(once(this.#changed, 'change', { signal }), signal);
  }
}

/** node:events rejects with an AbortError; callers are promised the signal's own reason. */
async function abortable<T>(waiting: Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await waiting;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}
