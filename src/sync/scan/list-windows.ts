// Fetchers and writers of one plan at work side by side: fetchers walk and steal windows, writers reconcile what they brought.
import { Crew } from '../../base/task-group.js';
import type { ItemResult } from '../outcome.js';
import type { CreatedRange, Mirror, Source } from '../ports.js';
import type { MissedByRun } from './candidate-log.js';
import { PageBuffer } from './page-buffer.js';
import type { Plan, Window } from './plan.js';
import { reconcile } from './reconcile.js';
import { isLeaseLost } from './state.js';
import { fetchPage, type Page } from './walk.js';

export interface ListOptions {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly signal: AbortSignal;
  /** After an abort: how long what was listed may still be written, in milliseconds. */
  readonly settleWithinMs: number;
  /** Range in which the absence of an object means something; asked for at each run of pages. */
  readonly conclusive: () => CreatedRange;
  readonly onPage: (page: Page) => void;
  /** See FetchOptions. */
  readonly onAsk?: (() => void) | undefined;
  readonly onEndNear?: (() => void) | undefined;
  /** Keeps what a run misses; it is kept before the run counts as settled, so that a crash brings it again. */
  readonly missedByRun: () => MissedByRun;
  readonly onResults: (results: readonly ItemResult[]) => void;
  /** What came before is settled: a checkpoint taken now holds it. */
  readonly onSettled: () => Promise<void>;
}

const writers = 2;

/**
 * Lists every window of the plan to its end and reconciles all of it. The first fault ends all workers; it is thrown when they
 * have ended, so that nothing writes afterwards. On abort the fetchers end at once and the writers when all that was listed is in the
 * mirror, or `settleWithinMs` later; where the lease is lost, with what they are at.
 */
export async function listWindows(plan: Plan, options: ListOptions): Promise<void> {
  const { signal, settleWithinMs } = options;
  const grace = graceAfter(signal, settleWithinMs);
  const crew = new Crew(grace.signal);
  const buffer = new PageBuffer();
  try {
    const fetching = fetchInto(buffer, plan, options, crew);
    await crew.finish([fetching, ...Array.from({ length: writers }, () => write(buffer, options, crew))]);
  } finally {
    grace.end();
  }
  signal.throwIfAborted();
}

async function fetchInto(
  buffer: PageBuffer,
  plan: Plan,
  { source, signal, onPage, onAsk, onEndNear }: ListOptions,
  crew: Crew,
): Promise<void> {
  try {
    await fetchWindows(plan, {
      source,
      signal: AbortSignal.any([signal, crew.signal]),
      room: (aborted) => buffer.room(aborted),
      onAsk,
      onEndNear,
      onPage: (window, page) => {
        onPage(page);
        buffer.put(window, page);
      },
    });
  } catch (error) {
    // Fetchers that were asked to stop leave the writers to end with what there is.
    if (!signal.aborted) throw error;
  }
  buffer.close();
}

async function write(buffer: PageBuffer, options: ListOptions, crew: Crew): Promise<void> {
  for (let isMore = true; isMore;) isMore = await writeNext(buffer, options, crew);
}

/** By itself: a writer that waits for its next run would keep the last one in memory. */
async function writeNext(buffer: PageBuffer, options: ListOptions, { signal }: Crew): Promise<boolean> {
  const { source, mirror, conclusive, missedByRun, onResults, onSettled } = options;
  const run = await buffer.take(signal);
  if (!run) return false;
  const missed = missedByRun();
  const { results, settle } = await reconcile(run.window, run.pages, {
    source,
    mirror,
    conclusive: conclusive(),
    onMissing: (ids) => missed.add(ids),
    signal,
  });
  settle();
  missed.settle();
  onResults(results);
  buffer.release(run);
  await onSettled();
  return true;
}

// Fetches all windows of a plan: as many walks side by side as calls are worth having under way; one that has room takes or steals a window.
/**
 * Of the walks worth having so many are needed to use up the rate; the others are there for answers that take long. Where few are worth having, some of
 * them are spare in any case; of many, those take a smaller share (measured at 25 and at 100 calls a second, bench/RESULTS.md).
 */
const neededOf = (worthHaving: number): number => Math.max(worthHaving * 0.6, (worthHaving - 4) * 0.765);

export interface FetchOptions {
  readonly source: Source;
  readonly signal: AbortSignal;
  /** Resolves when one more page may come. */
  readonly room: (signal: AbortSignal) => Promise<void>;
  /** A page is about to be asked for. */
  readonly onAsk?: (() => void) | undefined;
  /** As far as can be told the pages that are on their way are the last ones. */
  readonly onEndNear?: (() => void) | undefined;
  /** Of one window in the order of its rows. */
  readonly onPage: (window: Window, page: Page) => void;
}

/** Resolves when every window is fetched. @throws the first walk's fault once all have ended; the signal's reason on abort */
export async function fetchWindows(plan: Plan, options: FetchOptions): Promise<void> {
  const { source, room, onAsk, onEndNear, onPage } = options;
  const crew = new Crew(options.signal);
  const { signal } = crew;
  const walks = new Set<Promise<void>>();
  let underWay = 0;

  const ask = async (window: Window): Promise<Page | undefined> => {
    underWay += 1;
    onAsk?.();
    const answer = fetchPage(source, window, { priority: 'scan', signal });
    if (underWay === walks.size && plan.estimatedLeft === 0) onEndNear?.();
    try {
      return await answer;
    } finally {
      underWay -= 1;
    }
  };
  const startWalks = (): void => {
    while (!signal.aborted && walks.size < source.listsAtOnce()) {
      const window = plan.take(walks.size < neededOf(source.listsAtOnce()) ? 'needed' : 'spare');
      if (!window) return;
      const walking = crew.guard(walk(window)).finally(() => walks.delete(walking));
      walks.add(walking);
    }
  };
  // By itself: a walk that waits for its next page would keep the last one in memory.
  const step = async (window: Window): Promise<void> => {
    const page = await ask(window);
    if (page) onPage(window, page);
  };
  const walk = async (window: Window): Promise<void> => {
    while (!window.isFetched) {
      await room(signal);
      await step(window);
      startWalks(); // what this page told of its window may make it worth a theft
    }
  };

  startWalks();
  while (walks.size > 0) {
    await Promise.race(walks);
    startWalks();
  }
  signal.throwIfAborted();
}

// What a scan has listed when it is asked to stop is still written, for a short time: it would be listed again otherwise.
export interface Grace {
  /** Aborted when writing must end too, with the reason of the stop. */
  readonly signal: AbortSignal;
  /** Nothing is waited for any more. */
  readonly end: () => void;
}

/** Begins with the stop and lasts for `ms`; there is none where the lease is lost, as another run may write by then. */
function graceAfter(stop: AbortSignal, ms: number): Grace {
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
