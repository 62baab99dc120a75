// Numbers that are the same from every replica, read through indexes or sync_state so that a scrape stays cheap.
import type { mongo } from 'mongoose';
import { persistently } from '../mongo-faults.js';
import { readCallsThisMonth } from './limiter-state.js';
import { countDeleted } from './mirror.js';
import type { MirrorDocument } from './mirror-operations.js';
import { stateOf } from './state.js';

export interface DatabaseStats {
  readonly requestsPending: number;
  readonly requestsRunning: number;
  /** Time from which the longest waiting request could have been claimed; undefined when none waits. */
  readonly oldestPendingAt: Date | undefined;
  /** By kind of object; without an entry until its first complete scan. */
  readonly lastCompleteScanAt: Readonly<Record<string, Date>>;
  readonly mirrorObjects: Readonly<Record<string, { live: number; deleted: number }>>;
  /** Customers whose removal is held for approval, by kind of object. */
  readonly removalsHeld: Readonly<Record<string, number>>;
  /** Calls to Stripe of all replicas in this calendar month. */
  readonly callsThisMonth: number;
  /** When the database was bound to its Stripe account; undefined before. */
  readonly boundAt: Date | undefined;
}

/** Where the mirror of one kind of object is. */
export interface StatsOf {
  readonly object: string;
  readonly collection: string;
}

/** @throws Fault `mongodb_unavailable` or `mongodb_rejected` */
export async function readDatabaseStats(db: mongo.Db, objects: readonly StatsOf[]): Promise<DatabaseStats> {
  return persistently('reading statistics', async () => {
    const requests = db.collection('sync_requests');
    const due = {
      status: { $in: [null, 'pending'] },
      $or: [{ runAt: null }, { $expr: { $lte: ['$runAt', '$$NOW'] } }],
    };
    const [requestsPending, requestsRunning, oldest] = await Promise.all([
      requests.countDocuments({ status: { $in: [null, 'pending'] } }),
      requests.countDocuments({ status: 'running' }),
      requests.find(due, { projection: { _id: 1, runAt: 1 }, sort: { _id: 1 }, limit: 1 }).next(),
    ]);
    const mirrorObjects: Record<string, { live: number; deleted: number }> = {};
    const lastCompleteScanAt: Record<string, Date> = {};
    const removalsHeld: Record<string, number> = {};
    for (const { object, collection } of objects) {
      const mirror = db.collection<MirrorDocument>(collection);
      const deleted = await countDeleted(mirror);
      mirrorObjects[object] = {
        live: Math.max(0, (await mirror.estimatedDocumentCount()) - deleted),
        deleted,
      };
      const completed = await stateOf(db).findOne({ _id: `scan-completed:${object}` });
      if (completed?.['at'] instanceof Date) lastCompleteScanAt[object] = completed['at'];
      const held = await stateOf(db).findOne({ _id: `scan-held:${object}` });
      removalsHeld[object] = Number(held?.['count'] ?? 0);
    }
    const binding = await stateOf(db).findOne({ _id: 'account-binding' });
    return {
      requestsPending,
      requestsRunning,
      oldestPendingAt: oldest ? waitingSince(oldest) : undefined,
      lastCompleteScanAt,
      mirrorObjects,
      removalsHeld,
      callsThisMonth: await readCallsThisMonth(stateOf(db)),
      boundAt: binding?.['boundAt'] instanceof Date ? binding['boundAt'] : undefined,
    };
  });
}

/** A request waits since it was inserted (its ObjectId tells), or since the time it asked for. */
function waitingSince({ _id, runAt }: mongo.WithId<mongo.Document>): Date | undefined {
  const inserted =
    (_id as unknown) instanceof Object && 'getTimestamp' in _id ? _id.getTimestamp() : undefined;
  if (runAt instanceof Date && (!inserted || runAt > inserted)) return runAt;
  return inserted;
}
