// Fetches all windows of a plan: as many walks side by side as calls are worth having under way; one that has room takes or steals a window.
import { Crew } from '../crew.js';
import type { Source } from '../ports.js';
import type { Plan, Window } from './plan.js';
import { fetchPage, type Page } from './walk.js';

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
