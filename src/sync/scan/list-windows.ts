// Fetchers and writers of one plan at work side by side: fetchers walk and steal windows, writers reconcile what they brought.
import { EventEmitter, once } from 'node:events';
import { Crew } from '../crew.js';
import type { ItemResult } from '../outcome.js';
import type { CreatedRange, Mirror, Source, StripeId } from '../ports.js';
import { PageBuffer } from './page-buffer.js';
import type { Plan, Window } from './plan.js';
import { reconcile } from './reconcile.js';
import { fetchPage, type Page } from './walk.js';

export interface ListOptions {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly concurrency: number;
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
  const changed = new EventEmitter().setMaxListeners(0);

  const fetcher = async (): Promise<void> => {
    while (!plan.isFetched) {
      const window = plan.take();
      if (window) await walk(window);
      else await once(changed, 'page', { signal });
    }
  };
  const walk = async (window: Window): Promise<void> => {
    while (!window.isFetched) {
      await buffer.room(signal);
      const page = await fetchPage(options.source, window, { priority: 'scan', signal });
      if (!page) continue;
      options.onPage(page);
      buffer.put(window, page);
      changed.emit('page');
    }
  };
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
  const fetchers = Array.from({ length: options.concurrency }, () => crew.guard(fetcher()));
  const closing = Promise.all(fetchers).then(() => {
    buffer.close();
  });
  await crew.finish([closing, ...Array.from({ length: writers }, writer)]);
}
