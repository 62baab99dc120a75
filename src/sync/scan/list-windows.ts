// Fetchers and writers of one plan at work side by side: fetchers walk and steal windows, writers reconcile what they brought.
import { Crew } from '../crew.js';
import type { ItemResult } from '../outcome.js';
import type { CreatedRange, Mirror, Source, StripeId } from '../ports.js';
import { fetchWindows } from './fetch-windows.js';
import { PageBuffer } from './page-buffer.js';
import type { Plan } from './plan.js';
import { reconcile } from './reconcile.js';
import type { Page } from './walk.js';

export interface ListOptions {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly signal: AbortSignal;
  /** Range in which the absence of an object means something; asked for at each run of pages. */
  readonly conclusive: () => CreatedRange;
  readonly onPage: (page: Page) => void;
  /** Makes missing ids safe; runs before the pages count as settled, so that a crash brings them again. */
  readonly onMissing: (ids: readonly StripeId[]) => Promise<void>;
  readonly onResults: (results: readonly ItemResult[]) => void;
  /** What came before is settled: a checkpoint taken now holds it. */
  readonly onSettled: () => Promise<void>;
}

const writers = 2;

/**
 * Lists every window of the plan to its end and reconciles all of it. The first fault ends all workers; it is thrown when they
 * have ended, so that nothing writes afterwards.
 */
export async function listWindows(plan: Plan, options: ListOptions): Promise<void> {
  const crew = new Crew(options.signal);
  const { signal } = crew;
  const buffer = new PageBuffer();
  const writer = async (): Promise<void> => {
    for (let run = await buffer.take(signal); run; run = await buffer.take(signal)) {
      const context = {
        source: options.source,
        mirror: options.mirror,
        conclusive: options.conclusive(),
        signal,
      };
      const { results, missing, settle } = await reconcile(run.window, run.pages, context);
      if (missing.length > 0) await options.onMissing(missing);
      settle();
      options.onResults(results);
      buffer.release(run);
      await options.onSettled();
    }
  };
  const fetching = fetchWindows(plan, {
    source: options.source,
    signal,
    room: (aborted) => buffer.room(aborted),
    onPage: (window, page) => {
      options.onPage(page);
      buffer.put(window, page);
    },
  }).then(() => {
    buffer.close();
  });
  await crew.finish([fetching, ...Array.from({ length: writers }, writer)]);
}
