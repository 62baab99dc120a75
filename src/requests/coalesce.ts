// Of several requests for the same scan one runs for all.
import type { Connection } from 'mongoose';
import { requestsOf } from './collection.js';
import { maxAttemptsLimit, type RequestId } from './document.js';
import {
  createdAt,
  expireAt,
  type Filter,
  isDue,
  isPending,
  leaseOver,
  literal,
  replaceFields,
  type Retention,
  withoutEnd,
} from './expressions.js';

/** Due, or held back by a daemon, which is nobody's wish: the one that runs reads later than it would have. */
const isDueOrHeld: Filter = { $or: [isDue, { 'error.code': 'read_allowance_used' }] };

/** Of another type they are refused by name when claimed, and must not end as if all were well. */
const isSound: Filter = {
  $and: [
    { $or: [{ runAt: null }, { runAt: { $type: 'date' } }] },
    { $or: [{ dedupeKey: null }, { dedupeKey: { $type: 'string' } }] },
    { $or: [{ requestedBy: null }, { requestedBy: { $type: 'string' } }] },
    { $or: [{ maxAttempts: null }, { maxAttempts: { $type: 'number', $gte: 1, $lte: maxAttemptsLimit } }] },
  ],
  cancel: { $in: [null, false] },
};

/**
 * Ends the full scans that wait now and ask for the same as the claimed one, naming it. Returns how many.
 * @throws what the driver throws
 */
export async function coalesceInto(
  connection: Connection,
  keep: Retention,
  id: RequestId,
  dryRun: boolean,
): Promise<number> {
  const equal: Filter = {
    ...isPending,
    ...isDueOrHeld,
    ...isSound,
    command: 'syncAll',
    _id: { $ne: id },
    dryRun: dryRun ? true : { $in: [null, false] },
  };
  const { modifiedCount } = await requestsOf(connection).updateMany(equal, [
    withoutEnd,
    replaceFields({
      status: 'coalesced',
      coalescedInto: literal(id),
      createdAt,
      finishedAt: '$$NOW',
      expireAt: expireAt('coalesced', keep),
    }),
    { $unset: [...leaseOver, 'cancel'] },
  ]);
  return modifiedCount;
}
