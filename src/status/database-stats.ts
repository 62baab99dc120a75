// Numbers that are the same from every replica, read through indexes or sync_state so that a scrape stays cheap.
import { stateIds } from '../mongo/sync-state.js';
import type { mongo } from 'mongoose';
import { countDeleted } from '../mirror/mirror.js';
import type { MirrorDocument } from '../mirror/operations.js';
import { persistently } from '../mongo/faults.js';
import { stateOf } from '../mongo/sync-state.js';
import { readBudget } from '../rate/budget.js';
import { oldestDueAt } from '../requests/backlog.js';
import { isPending } from '../requests/expressions.js';
import { requestsCollectionName } from '../requests/request.js';

export interface DatabaseStats {
  readonly requestsPending: number;
  readonly requestsRunning: number;
  /** Time since which the longest waiting request could have been claimed; undefined when none waits. */
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
    const requests = db.collection(requestsCollectionName);
    const [requestsPending, requestsRunning, oldestPendingAt] = await Promise.all([
      requests.countDocuments(isPending),
      requests.countDocuments({ status: 'running' }),
      oldestDueAt(requests),
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
      const completed = await stateOf(db).findOne({ _id: stateIds.scanCompleted(object) });
      if (completed?.['at'] instanceof Date) lastCompleteScanAt[object] = completed['at'];
      const held = await stateOf(db).findOne({ _id: stateIds.scanHeld(object) });
      removalsHeld[object] = Number(held?.['count'] ?? 0);
    }
    const binding = await stateOf(db).findOne({ _id: stateIds.binding });
    return {
      requestsPending,
      requestsRunning,
      oldestPendingAt,
      lastCompleteScanAt,
      mirrorObjects,
      removalsHeld,
      callsThisMonth: (await readBudget(stateOf(db))).callsThisMonth,
      boundAt: binding?.['boundAt'] instanceof Date ? binding['boundAt'] : undefined,
    };
  });
}
