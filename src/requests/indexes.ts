// The indexes of sync_requests. Missing ones are created; none is ever dropped or changed.
import type { Connection, mongo } from 'mongoose';
import { type Change, type CollectionPlan, ensureCollection } from '../mongo/collections.js';
import { persistently } from '../mongo/faults.js';
import { databaseOf, stateCollectionName } from '../mongo/sync-state.js';
import { endStatuses, keyHolders, requestsCollectionName } from './request.js';

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

export const requestsPlan: CollectionPlan = { name: requestsCollectionName, indexes: requestIndexes };
/** Read by `_id` alone. */
export const statePlan: CollectionPlan = { name: stateCollectionName, indexes: [] };

/**
 * Creates what is missing of sync_requests with its indexes, and of sync_state.
 * @throws Fault `mongodb_rejected` where the user lacks the right (fatal), an index of the name is another
 *   one, or kept requests share a `dedupeKey`; `mongodb_unavailable`
 */
export async function ensureRequestIndexes(connection: Connection): Promise<readonly Change[]> {
  const changes: Change[] = [];
  for (const plan of [requestsPlan, statePlan]) {
    const ensure = () => ensureCollection(databaseOf(connection), plan);
    changes.push(...(await persistently(`creating ${plan.name}`, ensure, { withinMs: 10_000 })));
  }
  return changes;
}
