// Numbers that are the same on every replica. Each read uses an index or one document of the state, so that
// a scrape stays cheap.
import type { mongo } from 'mongoose';
import { createBindingStore } from '../mirror/binding-state.js';
import { countObjects, type ObjectCounts } from '../mirror/mirror.js';
import { persistently } from '../mongo/faults.js';
import { type OurDatabase, type StateDocument, stateIds, stateOf } from '../mongo/sync-state.js';
import { readBudget } from '../rate/budget.js';
import { oldestDueAt } from '../requests/backlog.js';
import { isPending } from '../requests/expressions.js';
import { requestsOf } from '../requests/request.js';
import { resources } from '../resources/registry.js';

type PerObject<T> = Readonly<Record<string, T>>;

export interface DatabaseStats {
  readonly requestsPending: number;
  readonly requestsRunning: number;
  /** When the oldest due request could first have been claimed; undefined when none is due. */
  readonly oldestPendingAt: Date | undefined;
  /** By kind of object; no entry before its first complete scan. */
  readonly lastCompleteScanAt: PerObject<Date>;
  readonly mirrorObjects: PerObject<ObjectCounts>;
  /** Customers whose removal waits for approval, by kind of object. */
  readonly removalsHeld: PerObject<number>;
  /** Objects that the last scan could not mirror, by kind of object; no entry before its first scan. */
  readonly scanLeftOut: PerObject<number>;
  /** Calls to Stripe of all replicas in this calendar month. */
  readonly callsThisMonth: number;
  /** When the database was bound to its Stripe account; undefined before. */
  readonly boundAt: Date | undefined;
}

/** @throws Fault `mongodb_unavailable` or `mongodb_rejected` */
export async function readDatabaseStats(database: OurDatabase): Promise<DatabaseStats> {
  return persistently('reading statistics', async () => {
    const requests = requestsOf(database);
    const states = stateOf(database);
    const [requestsPending, requestsRunning, oldestPendingAt] = await Promise.all([
      requests.countDocuments(isPending),
      requests.countDocuments({ status: 'running' }),
      oldestDueAt(requests),
    ]);
    return {
      requestsPending,
      requestsRunning,
      oldestPendingAt,
      lastCompleteScanAt: await readCompleteScans(states),
      mirrorObjects: await readMirrorObjects(database),
      removalsHeld: await forEachObject(async ({ object }) => {
        const held = await states.findOne({ _id: stateIds.scanHeld(object) });
        return Number(held?.['count'] ?? 0);
      }),
      scanLeftOut: await forEachObject(async ({ object }) => {
        const leftOut = await states.findOne({ _id: stateIds.scanLeftOut(object) });
        return leftOut ? Number(leftOut['count']) : undefined;
      }),
      callsThisMonth: (await readBudget(states)).callsThisMonth,
      boundAt: (await readBinding(states))?.boundAt,
    };
  });
}

/** Live and deleted objects in the mirror, by kind of object. */
export const readMirrorObjects = ({ db, names }: OurDatabase): Promise<PerObject<ObjectCounts>> =>
  forEachObject(({ collection }) => countObjects(db.collection(collection(names))));

/** When the last complete scan ended, by kind of object; no entry before the first. */
export const readCompleteScans = (states: mongo.Collection<StateDocument>): Promise<PerObject<Date>> =>
  forEachObject(async ({ object }) => {
    const completed = await states.findOne({ _id: stateIds.scanCompleted(object) });
    return completed?.['at'] instanceof Date ? completed['at'] : undefined;
  });

/** The Stripe account and mode of this database; undefined before it is bound. */
export async function readBinding(states: mongo.Collection<StateDocument>) {
  const { livemode, accountId = null, boundAt, keys } = await createBindingStore(states).read();
  return livemode === undefined ? undefined : { livemode, accountId, boundAt, knownKeys: keys.length };
}

async function forEachObject<T>(
  read: (resource: (typeof resources)[number]) => Promise<T | undefined>,
): Promise<PerObject<T>> {
  const values: Record<string, T> = {};
  for (const resource of resources) {
    const value = await read(resource);
    if (value !== undefined) values[resource.object] = value;
  }
  return values;
}
