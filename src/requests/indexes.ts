// The indexes that the queue rests on. They are created where they are missing; none is ever dropped or changed.
import type { Connection, mongo } from 'mongoose';
import { requestsOf } from './collection.js';
import { endStatuses } from './document.js';
import { persistently, toMongoFault } from './mongo-faults.js';

const holdsKey = [null, 'pending', 'running', 'succeeded', 'partial', 'coalesced'];

/** Partial indexes of this form need MongoDB 6.0. */
export const requestIndexes = [
  // Serves claiming (oldest first in each lane), the search for abandoned and for odd requests, and the counts by status.
  { name: 'claim', key: { status: 1, command: 1, runAt: 1, _id: 1 } },
  // Only what has ended is removed: an `expireAt` that a user wrote, or that a request set back to pending still has, does nothing.
  {
    name: 'expiry',
    key: { expireAt: 1 },
    expireAfterSeconds: 0,
    partialFilterExpression: { status: { $in: endStatuses } },
  },
  // A key is held while a request waits, runs or is kept after success; one that failed or was cancelled gives it free.
  {
    name: 'dedupe',
    key: { dedupeKey: 1 },
    unique: true,
    partialFilterExpression: { dedupeKey: { $type: 'string' }, status: { $in: holdsKey } },
  },
  // The few that are being cancelled.
  { name: 'cancel', key: { cancel: 1 }, partialFilterExpression: { cancel: true } },
] as const satisfies readonly mongo.IndexDescription[];

/**
 * Creates the indexes of sync_requests, and the collection with them.
 * @throws Fault `mongodb_rejected` where the user lacks the right, an index of the name is another one, or kept requests
 * share a `dedupeKey`; `mongodb_unavailable`
 */
export async function ensureRequestIndexes(connection: Connection): Promise<void> {
  for (const { key, ...options } of requestIndexes) {
    const doing = `creating the index ${options.name} of sync_requests`;
    await persistently(doing, () => requestsOf(connection).createIndex(key, options, {}), {
      withinMs: 10_000,
    }).catch((error: unknown) => {
      throw toMongoFault(error, doing);
    });
  }
}
