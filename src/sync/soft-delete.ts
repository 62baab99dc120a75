// softDelete: marks one object as deleted in the mirror. Nothing is removed, Stripe is not called.
import { type SyncResult, Tally } from './outcome.js';
import type { Mirror, Observed, StripeId } from './ports.js';

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
