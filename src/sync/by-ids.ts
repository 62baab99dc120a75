// syncByIds: retrieves each of the given objects from Stripe and updates the mirror.
import pLimit from 'p-limit';
import { TaskGroup } from '../base/task-group.js';
import { retrieveAndApply } from './apply.js';
import { type Progress, type SyncResult, Tally, withResult } from './outcome.js';
import type { Mirror, Source, StripeId } from './ports.js';

export interface ByIdsOptions {
  readonly signal: AbortSignal;
  /** Maximum concurrent retrievals. The source's own limits apply as well. */
  readonly concurrency: number;
  /** Called before the first call to Stripe if a full scan is likely to take fewer calls. */
  readonly onCostlierThanScan?: (cost: Cost) => void;
  readonly onProgress?: (progress: Progress) => void;
}

/** Minimum calls that the ids take, and calls that a full scan would take. */
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
 * Infinity for a single id, because every scan takes at least one call. Also Infinity before the first scan,
 * when its size is unknown.
 */
async function callsOfScan(mirror: Mirror, calls: number): Promise<number> {
  const living = calls > 1 ? await mirror.countLive() : 0;
  return living === 0 ? Infinity : Math.ceil(living / listedPerCall);
}
