// Fetchers and writers of one plan at work side by side: fetchers walk and steal windows, writers reconcile what they brought.
import { Crew } from '../crew.js';
import type { ItemResult } from '../outcome.js';
import type { CreatedRange, Mirror, Source } from '../ports.js';
import type { MissedByRun } from './candidate-log.js';
import { fetchWindows } from './fetch-windows.js';
import { graceAfter } from './grace.js';
import { PageBuffer } from './page-buffer.js';
import type { Plan } from './plan.js';
import { reconcile } from './reconcile.js';
import type { Page } from './walk.js';

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
