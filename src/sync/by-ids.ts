// Operations on given ids. syncByIds retrieves each object from Stripe and updates the mirror; softDelete
// marks one as deleted.
import pLimit from 'p-limit';
import { TaskGroup } from '../base/task-group.js';
import { retrieveAndApply } from './apply.js';
import { failedItem, type Progress, type SyncResult, Tally, withResult } from './outcome.js';
import type { Mirror, Observed, Source, StripeId } from './ports.js';

export interface ByIdsOptions {
  readonly signal: AbortSignal;
  /** Retrievals at once. The source's own limits apply as well. */
  readonly concurrency: number;
  /** Called before the first call to Stripe if a full scan is likely to take fewer calls. */
  readonly onCostlierThanScan?: (cost: Cost) => void;
  readonly onProgress?: (progress: Progress) => void;
}

/** Calls that the ids take at least, and calls that a full scan would take. */
interface Cost {
  readonly calls: number;
  readonly scanCalls: number;
}

/**
 * Retrieves each id once. An id that Stripe does not know is `failed` with code `not_in_account`, and nothing
 * is written.
 * @throws Fault if Stripe or MongoDB is unreachable, once the calls in flight have ended; the signal's reason
 *   on abort
 */
export async function syncByIds(
  source: Source,
  mirror: Mirror,
  ids: readonly StripeId[],
  { signal, concurrency, onCostlierThanScan, onProgress }: ByIdsOptions,
): Promise<SyncResult> {
  const unique = [...new Set(ids)];
  const tally = new Tally();
  const group = new TaskGroup(signal);
  const limit = pLimit(concurrency);
  const one = async (id: StripeId): Promise<void> => {
    group.signal.throwIfAborted();
    tally.add(await retrieveAndApply(source, mirror, id, { priority: 'small', signal: group.signal }));
    onProgress?.({ done: tally.done, estimated: unique.length, ratio: tally.done / unique.length });
  };
  const cost = { calls: unique.length, scanCalls: await callsOfScan(mirror, unique.length) };
  if (cost.calls > cost.scanCalls) onCostlierThanScan?.(cost);
  try {
    await group.finish(unique.map((id) => limit(one, id)));
  } catch (error) {
    throw withResult(error, tally.result());
  }
  return tally.result();
}

const listedPerCall = 100;

/**
 * Infinity for a single id, as no scan takes less than one call, and before the first scan, when it is
 * unknown.
 */
async function callsOfScan(mirror: Mirror, calls: number): Promise<number> {
  const living = calls > 1 ? await mirror.countLive() : 0;
  return living === 0 ? Infinity : Math.ceil(living / listedPerCall);
}

/**
 * Marks an object as deleted in the mirror. Nothing is removed, and Stripe is not called. One that is already
 * marked is `unchanged`; one that the mirror does not have is `failed` with code `not_found`, and nothing is
 * written.
 */
export async function softDelete(mirror: Mirror, id: StripeId, observed: Observed): Promise<SyncResult> {
  const tally = new Tally();
  const head = (await mirror.headsOf([id])).get(id);
  if (!head) {
    tally.add(failedItem(id, { code: 'not_found', message: 'The mirror has no such object' }));
  } else if (head.deletedBy) {
    tally.add({ id, outcome: 'unchanged' });
  } else {
    const [result] = await mirror.write([{ kind: 'mark_deleted', id, observed, source: 'request' }]);
    if (result?.kind === 'rejected') tally.add(failedItem(id, result));
    // A conflict means that another writer marked it first.
    else tally.add({ id, outcome: result?.kind === 'written' ? 'deleted' : 'unchanged' });
  }
  return tally.result();
}
