// syncByIds: retrieves the given objects from Stripe and brings the mirror in line with each.
import pLimit from 'p-limit';
import { Crew } from '../base/task-group.js';
import { retrieveAndApply } from './apply.js';
import { type Progress, type SyncResult, Tally, withResult } from './outcome.js';
import type { Mirror, Observed, Source, StripeId } from './ports.js';

export interface ByIdsOptions {
  readonly signal: AbortSignal;
  /** Retrievals at once; the source's own limits hold besides. */
  readonly concurrency?: number;
  /** Told before the first call where a full scan is likely to take fewer calls. */
  readonly onCostlierThanScan?: (cost: Cost) => void;
  readonly onProgress?: (progress: Progress) => void;
}

/** Calls that the ids take at least, and that a scan of what the mirror has would take. */
export interface Cost {
  readonly calls: number;
  readonly scanCalls: number;
}

/**
 * Retrieves each id once. An id that Stripe does not know is `failed` with code `not_in_account`; nothing is marked for it.
 * @throws Fault where Stripe or MongoDB cannot be reached, after the calls under way have ended; the signal's reason on abort
 */
export async function syncByIds(
  source: Source,
  mirror: Mirror,
  ids: readonly StripeId[],
  { signal, concurrency = 16, onCostlierThanScan, onProgress }: ByIdsOptions,
): Promise<SyncResult> {
  const unique = [...new Set(ids)];
  const tally = new Tally();
  const crew = new Crew(signal);
  const limit = pLimit(concurrency);
  const one = async (id: StripeId): Promise<void> => {
    crew.signal.throwIfAborted();
    tally.add(await retrieveAndApply(source, mirror, id, { priority: 'small', signal: crew.signal }));
    onProgress?.({ done: tally.done, estimated: unique.length, ratio: tally.done / unique.length });
  };
  const cost = { calls: unique.length, scanCalls: await callsOfScan(mirror, unique.length) };
  if (cost.calls > cost.scanCalls) onCostlierThanScan?.(cost);
  try {
    await crew.finish(unique.map((id) => limit(one, id)));
  } catch (error) {
    throw withResult(error, tally.result());
  }
  return tally.result();
}

const listedPerCall = 100;

/** Infinity where it need not be known, for no scan takes less than a call, or is not known, before the first scan. */
async function callsOfScan(mirror: Mirror, calls: number): Promise<number> {
  const living = calls > 1 ? await mirror.countLive() : 0;
  return living === 0 ? Infinity : Math.ceil(living / listedPerCall);
}

// softDelete: marks one object as deleted in the mirror. Nothing is removed, Stripe is not called.
/**
 * Marks a living document; one that is marked already stays as it is (`unchanged`). An id that the mirror does not have is
 * `failed` with code `not_found`, and nothing is written for it.
 */
export async function softDelete(mirror: Mirror, id: StripeId, observed: Observed): Promise<SyncResult> {
  const tally = new Tally();
  const head = (await mirror.headsOf([id])).get(id);
  if (!head) {
    tally.add({ id, outcome: 'failed', code: 'not_found', message: 'The mirror has no such customer' });
  } else if (head.deletedBy) {
    tally.add({ id, outcome: 'unchanged' });
  } else {
    const [result] = await mirror.write([{ kind: 'mark_deleted', id, observed, source: 'request' }]);
    if (result?.kind === 'rejected')
      tally.add({ id, outcome: 'failed', code: result.code, message: result.message });
    // A conflict here means that another writer marked it first.
    else tally.add({ id, outcome: result?.kind === 'written' ? 'deleted' : 'unchanged' });
  }
  return tally.result();
}
