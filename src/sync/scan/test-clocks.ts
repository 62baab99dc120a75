// Lists the objects of test clocks, clock by clock: Stripe leaves them out of every list that does not name
// their clock. Their `created` is the clock's time, so they have no windows.
import { Fault } from '../../base/errors.js';
import type { Mirror, Source } from '../ports.js';
import { Window } from './plan.js';
import type { Checkpointer, ScanProgress } from './progress.js';
import { reconcileById } from './reconcile.js';
import type { Checkpoint } from './state.js';
import { fetchPage } from './walk.js';

export interface ListClocksOptions {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly scanned: ScanProgress;
  readonly saver: Checkpointer<Checkpoint>;
  readonly signal: AbortSignal;
}

/** Times that the list of clocks starts again because the clock used as cursor was deleted. */
const maxRestarts = 5;

/**
 * Reconciles the objects of every test clock. Resumes after the last clock that was settled. A clock that is
 * listed again costs calls only: its objects were counted.
 * @throws Fault `scan_incomplete` if clocks are deleted too often to list them all,
 *   `stripe_invalid_response` if the pages of clocks lead in a circle
 */
export async function listClocks(options: ListClocksOptions): Promise<void> {
  const { source, scanned, saver, signal } = options;
  if (!source.testClocks) return;
  let restarts = 0;
  let done = new Set<string>();
  for (let hasMore = true; hasMore;) {
    const startingAfter = scanned.clocksAfter;
    const answer = await source.testClocks({ limit: 100, startingAfter }, { priority: 'scan', signal });
    if (answer.kind === 'cursor_gone') {
      if ((restarts += 1) > maxRestarts)
        throw new Fault('scan_incomplete', 'Test clocks were deleted again and again while they were listed');
      scanned.clocksAfter = undefined;
      done = new Set();
      continue;
    }
    const clocks = answer.clocks.filter((clock) => !done.has(clock));
    if (answer.hasMore && clocks.length === 0)
      throw new Fault('stripe_invalid_response', 'Stripe sent pages of test clocks that lead in a circle');
    scanned.listed(answer);
    for (const clock of clocks) {
      await listClock(clock, options);
      done.add(clock);
      scanned.clocksAfter = clock;
      await saver.saveSometimes();
    }
    hasMore = answer.hasMore;
  }
}

/** Page by page, so memory does not grow with the clock. A deleted clock has no more objects. */
async function listClock(
  testClock: string,
  { source, mirror, scanned, signal }: ListClocksOptions,
): Promise<void> {
  const window = new Window({ gte: 0, lt: undefined, testClock });
  while (!window.isFetched) {
    const page = await fetchPage(source, window, { priority: 'scan', signal });
    if (!page) continue;
    scanned.listed(page);
    scanned.counts.countOfClock(await reconcileById(page, { source, mirror, signal }));
  }
}
