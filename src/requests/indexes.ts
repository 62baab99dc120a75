// The indexes of the requests. Missing ones are created; none is ever dropped or changed.
import type { mongo } from 'mongoose';
import { type Change, type CollectionPlan, ensureCollection } from '../mongo/collections.js';
import { persistently } from '../mongo/faults.js';
import type { CollectionNames, OurDatabase } from '../mongo/sync-state.js';
import { endStatuses, keyHolders } from './request.js';

/** Partial indexes of this form need MongoDB 6.0. */
const requestIndexes = [
  // Serves claiming (oldest first in each lane), the search for abandoned and for odd requests, and the
  // counts by status.
  { name: 'claim', key: { status: 1, command: 1, runAt: 1, _id: 1 } },
  // Only ended requests expire. An `expireAt` has no effect if a user wrote it, or if a request that was
  // requeued by hand still has it.
  {
    name: 'expiry',
    key: { expireAt: 1 },
    expireAfterSeconds: 0,
    partialFilterExpression: { status: { $in: endStatuses } },
  },
  // A request holds its key while it is pending, running, or kept after success; a failed or cancelled one
  // releases the key. The filter is { $gte: '' }, which matches only strings. Unlike with $type, MongoDB then
  // knows that a search for a key can use this index.
  {
    name: 'dedupeKey',
    key: { dedupeKey: 1 },
    unique: true,
    partialFilterExpression: { dedupeKey: { $gte: '' }, status: { $in: keyHolders } },
  },
  // The few requests that are being cancelled.
  { name: 'cancel', key: { cancel: 1 }, partialFilterExpression: { cancel: true } },
] as const satisfies readonly mongo.IndexDescription[];

export const requestsPlan = ({ requests }: CollectionNames): CollectionPlan => ({
  name: requests,
  indexes: requestIndexes,
});
/** Read by `_id` alone. */
export const statePlan = ({ state }: CollectionNames): CollectionPlan => ({ name: state, indexes: [] });

/**
 * Creates what is missing of the requests with their indexes, and of the state.
 * @throws Fault `mongodb_rejected` where the user lacks the right (fatal), an index of the name is another
 *   one, or kept requests share a `dedupeKey`; `mongodb_unavailable`
 */
export async function ensureRequestIndexes(database: OurDatabase): Promise<readonly Change[]> {
  const changes: Change[] = [];
  for (const plan of [requestsPlan(database.names), statePlan(database.names)]) {
    const ensure = () => ensureCollection(database.db, plan);
    changes.push(...(await persistently(`creating ${plan.name}`, ensure, { withinMs: 10_000 })));
  }
  return changes;
}
