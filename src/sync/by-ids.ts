// syncByIds: retrieves the given objects from Stripe and brings the mirror in line with each.
import pLimit from 'p-limit';
import { retrieveAndApply } from './apply.js';
import { Crew } from './crew.js';
import { type Progress, type SyncResult, Tally, withResult } from './outcome.js';
import type { Mirror, Source, StripeId } from './ports.js';

export interface ByIdsOptions {
  readonly signal: AbortSignal;
  /** Retrievals at once; the source's own limits hold besides. */
  readonly concurrency?: number;
  readonly onProgress?: (progress: Progress) => void;
}

/**
 * Retrieves each id once. An id that Stripe does not know is `failed` with code `not_in_account`; nothing is marked for it.
 * @throws Fault where Stripe or MongoDB cannot be reached, after the calls under way have ended; the signal's reason on abort
 */
export async function syncByIds(
  source: Source,
  mirror: Mirror,
  ids: readonly StripeId[],
  { signal, concurrency = 16, onProgress }: ByIdsOptions,
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
  try {
    await crew.finish(unique.map((id) => limit(one, id)));
  } catch (error) {
    throw withResult(error, tally.result());
  }
  return tally.result();
}
