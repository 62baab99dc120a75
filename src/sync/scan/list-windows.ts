// Concurrent fetchers and writers of one plan. Fetchers walk and steal windows, a bounded buffer holds their
// pages, and writers reconcile the pages.
import { EventEmitter, once } from 'node:events';
import { TaskGroup } from '../../base/task-group.js';
import { firstOf, orAborted } from '../../base/waiting.js';
import type { ItemResult } from '../outcome.js';
import type { CreatedRange, Mirror, Source, StripeId } from '../ports.js';
import type { Plan, Window } from './plan.js';
import { reconcile } from './reconcile.js';
import type { MissedByRun } from './removals.js';
import { isLeaseLost } from './state.js';
import { fetchPage, type Page } from './walk.js';

export interface ListOptions extends FetchHooks {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly signal: AbortSignal;
  /** How long listed pages may still be written after an abort, in milliseconds. */
  readonly settleWithinMs: number;
  /** Only objects created in this range are settled; evaluated for each run of pages. */
  readonly range: () => CreatedRange;
  /** Nothing is written before it resolves; meanwhile the buffer bounds what is listed. */
  readonly mayWrite?: Promise<void> | undefined;
  readonly onPage: (page: Page) => void;
  /**
   * Stores the ids that a run did not find, before the run counts as settled: after a crash the run is
   * repeated.
   */
  readonly missedByRun: () => MissedByRun;
  /** @param elsewhere those that the mirror had outside their interval of `created` */
  readonly onResults: (results: readonly ItemResult[], elsewhere: readonly StripeId[]) => void;
  /** Called when a run is settled, that is, when the next checkpoint includes it. */
  readonly onSettled: () => Promise<void>;
}

const writers = 2;

/**
 * Lists every window of the plan to its end and reconciles it. The first fault ends all workers, and is
 * thrown when they have ended: nothing writes afterwards. On abort the fetchers end at once. The writers end
 * when everything listed is in the mirror, or after `settleWithinMs`; if the lease is lost, after the run of
 * pages at hand.
 */
export async function listWindows(plan: Plan, options: ListOptions): Promise<void> {
  const { signal, settleWithinMs } = options;
  const drain = drainAfter(signal, settleWithinMs);
  const group = new TaskGroup(drain.signal);
  const buffer = new PageBuffer();
  try {
    const fetching = fetchInto(buffer, plan, options, group);
    const writing = Array.from({ length: writers }, () => write(buffer, options, group));
    await group.finish([fetching, ...writing]);
  } finally {
    drain.end();
  }
  signal.throwIfAborted();
}

async function fetchInto(
  buffer: PageBuffer,
  plan: Plan,
  { signal, onPage, ...options }: ListOptions,
  group: TaskGroup,
): Promise<void> {
  try {
    await fetchWindows(plan, {
      ...options,
      signal: AbortSignal.any([signal, group.signal]),
      room: (aborted) => buffer.room(aborted),
      onPage: (window, page) => {
        onPage(page);
        buffer.put(window, page);
      },
    });
  } catch (error) {
    // The fetchers have stopped, but the writers finish the listed pages.
    if (!signal.aborted) throw error;
  }
  buffer.close();
}

async function write(buffer: PageBuffer, options: ListOptions, group: TaskGroup): Promise<void> {
  // A stop ends this wait at once: what may not be written needs no time to be written.
  if (options.mayWrite) await orAborted(options.mayWrite, options.signal);
  for (let isMore = true; isMore;) isMore = await writeNext(buffer, options, group);
}

/**
 * A separate function: otherwise a writer that waits for its next run would keep the previous one in memory.
 */
async function writeNext(buffer: PageBuffer, options: ListOptions, { signal }: TaskGroup): Promise<boolean> {
  const { source, mirror, range, missedByRun, onResults, onSettled } = options;
  const run = await buffer.take(signal);
  if (!run) return false;
  const missed = missedByRun();
  const { results, elsewhere, settle } = await reconcile(run.window, run.pages, {
    source,
    mirror,
    range: range(),
    onMissing: (ids) => missed.add(ids),
    signal,
  });
  settle();
  missed.settle();
  onResults(results, elsewhere);
  buffer.release(run);
  await onSettled();
  return true;
}

/**
 * How many of the calls in flight use up the rate; the others absorb slow answers. With few calls in flight a
 * larger share is spare (measured at 25 and 100 calls per second, bench/RESULTS.md).
 */
const neededOf = (inFlight: number): number => Math.max(inFlight * 0.6, (inFlight - 4) * 0.765);

export interface FetchHooks {
  /** A page is about to be requested. */
  readonly onAsk?: (() => void) | undefined;
  /** The pages in flight are probably the last ones. */
  readonly onEndNear?: (() => void) | undefined;
}

export interface FetchOptions extends FetchHooks {
  readonly source: Source;
  readonly signal: AbortSignal;
  /** Resolves when there is room for another page. */
  readonly room: (signal: AbortSignal) => Promise<void>;
  /** The pages of a window come in the order of their rows. */
  readonly onPage: (window: Window, page: Page) => void;
}

/**
 * Fetches all windows of a plan, with as many walks as the source has calls in flight. A free walk takes or
 * steals a window.
 * @throws the first walk's fault, once all have ended; the signal's reason on abort
 */
export async function fetchWindows(plan: Plan, options: FetchOptions): Promise<void> {
  const { source, room, onAsk, onEndNear, onPage } = options;
  const group = new TaskGroup(options.signal);
  const { signal } = group;
  const walks = new Set<Promise<void>>();
  let inFlight = 0;

  const ask = async (window: Window): Promise<Page | undefined> => {
    inFlight += 1;
    onAsk?.();
    const answer = fetchPage(source, window, { priority: 'scan', signal });
    if (inFlight === walks.size && plan.estimatedLeft === 0) onEndNear?.();
    try {
      return await answer;
    } finally {
      inFlight -= 1;
    }
  };
  const startWalks = (): void => {
    while (!signal.aborted && walks.size < source.listsAtOnce()) {
      const window = plan.take(walks.size < neededOf(source.listsAtOnce()) ? 'needed' : 'spare');
      if (!window) return;
      const walking = group.guard(walk(window)).finally(() => walks.delete(walking));
      walks.add(walking);
    }
  };
  // A separate function: otherwise a walk that waits for its next page would keep the previous one in memory.
  const step = async (window: Window): Promise<void> => {
    const page = await ask(window);
    if (page) onPage(window, page);
  };
  const walk = async (window: Window): Promise<void> => {
    while (!window.isFetched) {
      await room(signal);
      await step(window);
      startWalks(); // this page may have made its window worth stealing from
    }
  };

  startWalks();
  while (walks.size > 0) {
    await firstOf(walks);
    startWalks();
  }
  signal.throwIfAborted();
}

/**
 * Drains a stopped scan: it still writes listed pages, which a resumed scan would otherwise list again. Lasts
 * `ms` from the stop. If the lease is lost there is no drain, because another run may already write.
 */
function drainAfter(
  stop: AbortSignal,
  ms: number,
): { readonly signal: AbortSignal; readonly end: () => void } {
  const over = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const begin = (): void => {
    if (isLeaseLost(stop.reason)) over.abort(stop.reason);
    else timer = setTimeout(() => over.abort(stop.reason), ms);
  };
  if (stop.aborted) begin();
  else stop.addEventListener('abort', begin, { once: true });
  return {
    signal: over.signal,
    end: () => {
      clearTimeout(timer);
      stop.removeEventListener('abort', begin);
    },
  };
}

/**
 * Maximum number of buffered rows: in its first seconds a process writes slower than it lists. Pages in
 * flight may exceed it.
 */
const maxBufferedRows = 4_000;
/** Maximum number of rows that a writer takes at once. */
const maxRunRows = 500;

/** Consecutive pages of one window. */
interface Run {
  readonly window: Window;
  readonly pages: readonly Page[];
}

/**
 * Buffer of pages between fetching and writing. Pages of a window keep their order. The number of rows is
 * bounded, whatever the size of the account.
 */
export class PageBuffer {
  readonly #pages = new Map<Window, Page[]>();
  /** Windows that a writer works on: the runs of a window are reconciled sequentially. */
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
    while (this.#rows >= maxBufferedRows) await this.#change(signal);
  }

  /** The next run, or undefined after the last one. The caller owns its window until `release`. */
  async take(signal: AbortSignal): Promise<Run | undefined> {
    for (;;) {
      signal.throwIfAborted();
      const run = this.#next();
      if (run) return run;
      if (this.#isClosed && this.#pages.size === 0) return undefined;
      await this.#change(signal);
    }
  }

  /** Releases the window of a run and the room of its rows. */
  release({ window, pages }: Run): void {
    this.#busy.delete(window);
    this.#rows -= pages.reduce((sum, { objects }) => sum + objects.length, 0);
    this.#changed.emit('change');
  }

  #next(): Run | undefined {
    for (const [window, queue] of this.#pages) {
      if (this.#busy.has(window)) continue;
      const pages = queue.splice(0, 1);
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
    await orAborted(once(this.#changed, 'change'), signal);
  }
}
