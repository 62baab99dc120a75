// The rights that the daemon needs in MongoDB and at Stripe, each tried by what needs it. Nothing is written:
// the trials match no document, or hold one that MongoDB takes from nobody.
import { mongo } from 'mongoose';
import { type Fault, isFault } from './base/errors.js';
import type { Logger } from './base/logger.js';
import type { Config } from './config/load.js';
import { liveView, mirrorPlan } from './mirror/ensure.js';
import { type CollectionPlan, missingOf } from './mongo/collections.js';
import { createMongoClock } from './mongo/clock.js';
import { hasCode, isRefusal, nameOfError, persistently, refusesEveryWrite } from './mongo/faults.js';
import type { CollectionNames, OurDatabase } from './mongo/sync-state.js';
import type { Budget } from './rate/budget.js';
import { requestsPlan, statePlan } from './requests/indexes.js';
import { mainResource, resources } from './resources/registry.js';
import { createStripeGateway } from './stripe/gateway.js';

/** MongoDB's names of actions (https://www.mongodb.com/docs/manual/reference/privilege-actions/). */
type Action = keyof typeof trials;

/** What became of a right. */
interface TriedRight {
  readonly collection: string;
  readonly action: Action;
  /** Why MongoDB refused it, by the name of its code; undefined if it is granted. */
  readonly refused?: string;
}

export interface TriedRights {
  readonly rights: readonly TriedRight[];
  /** Collections, indexes and views that are missing. */
  readonly missing: readonly string[];
}

interface Needed {
  readonly plan: CollectionPlan;
  readonly actions: readonly Action[];
}

/** As docs/operations.md grants them to the role stripeSyncDaemon. */
const neededRights = (names: CollectionNames): readonly Needed[] => [
  { plan: requestsPlan(names), actions: ['find', 'insert', 'update', 'changeStream', 'listIndexes'] },
  ...resources.map(({ collection }) => ({
    plan: mirrorPlan(collection(names)),
    actions: ['find', 'insert', 'update', 'listIndexes'] as const,
  })),
  { plan: statePlan(names), actions: ['find', 'insert', 'update', 'remove', 'listIndexes'] },
];

interface TrialOptions {
  /** False: no change stream is needed. */
  readonly changeStream: boolean;
  /** The start creates what is missing, which needs further rights. */
  readonly autoMigrate: boolean;
}

/** Tries every right. @throws Fault `mongodb_unavailable` */
export async function tryRights(
  database: OurDatabase,
  { changeStream, autoMigrate }: TrialOptions,
): Promise<TriedRights> {
  const { db, names } = database;
  const rights: TriedRight[] = [];
  const missing: string[] = [];
  const attempt = async (collection: string, action: Action): Promise<boolean> => {
    const tried = await tryOne(db, collection, action);
    rights.push(tried);
    return tried.refused === undefined;
  };
  for (const { plan, actions } of neededRights(names)) {
    for (const action of actions) {
      const isNeeded = action !== 'changeStream' || changeStream;
      const isGranted = isNeeded && (await attempt(plan.name, action));
      if (action !== 'listIndexes' || !isGranted) continue;
      const lacks = await persistently(`looking for ${plan.name}`, () => missingOf(db, plan));
      missing.push(...lacks);
      if (lacks.length === 0 || !autoMigrate) continue;
      await attempt(plan.name, 'createCollection');
      await attempt(plan.name, 'createIndex');
    }
  }
  if (autoMigrate) missing.push(...(await tryViews(database, attempt)));
  return { rights, missing };
}

/** The daemon looks for the views only where it also creates them. */
async function tryViews(
  { db, names }: OurDatabase,
  attempt: (collection: string, action: Action) => Promise<boolean>,
): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const { collection } of resources) {
    const { name } = liveView(collection(names));
    if (!(await attempt(name, 'listCollections'))) continue;
    const found = await persistently('listing the collections', () => listed(db, name));
    if (found) continue;
    missing.push(`view ${name}`);
    await attempt(name, 'createCollection');
  }
  return missing;
}

const listed = async (db: mongo.Db, name: string): Promise<boolean> =>
  (await db.listCollections({ name }, { nameOnly: true }).toArray()).length > 0;

async function tryOne(db: mongo.Db, collection: string, action: Action): Promise<TriedRight> {
  const trial = trials[action];
  const refusal = await persistently(`trying ${action} on ${collection}`, () =>
    trial.run(db, collection),
  ).then(
    () => undefined,
    (error: unknown) => {
      if (!isRefusal(error)) throw error;
      return error instanceof Error ? error.cause : undefined;
    },
  );
  const isGranted = refusal === undefined || trial.grantedBy.some((code) => hasCode(refusal, code));
  return { collection, action, ...(!isGranted && { refused: nameOfError(refusal) }) };
}

interface Trial {
  readonly run: (db: mongo.Db, collection: string) => Promise<unknown>;
  /** Faults that come after the right was looked at. */
  readonly grantedBy: readonly Parameters<typeof hasCode>[1][];
}

type Probed = mongo.Collection;

/** No document has this `_id`. */
const nobody = (): { _id: mongo.ObjectId } => ({ _id: new mongo.ObjectId() });

const inCollection = (run: (collection: Probed) => Promise<unknown>): Trial['run'] => {
  return (db, name) => run(db.collection(name));
};

const trials = {
  find: { run: inCollection((collection) => collection.findOne(nobody())), grantedBy: [] },
  // No `_id` may be a list: whoever may insert is told so of this one document.
  insert: { run: tryInsert, grantedBy: [] },
  update: {
    run: inCollection((collection) => collection.updateOne(nobody(), [{ $set: { tried: true } }])),
    grantedBy: [],
  },
  remove: { run: inCollection((collection) => collection.deleteOne(nobody())), grantedBy: [] },
  changeStream: { run: inCollection(openStream), grantedBy: ['needsReplicaSet'] },
  listIndexes: {
    run: inCollection((collection) => collection.listIndexes().toArray()),
    grantedBy: ['namespaceNotFound'],
  },
  listCollections: { run: listed, grantedBy: [] },
  // A capped collection without a size, and an index of no known kind.
  createCollection: {
    run: (db, create) => db.command({ create, capped: true }),
    grantedBy: ['invalidOptions', 'namespaceExists'],
  },
  createIndex: {
    run: (db, createIndexes) =>
      db.command({ createIndexes, indexes: [{ key: { tried: 'nothing' }, name: 'tried' }] }),
    grantedBy: ['cannotCreateIndex'],
  },
} as const satisfies Record<string, Trial>;

async function tryInsert(db: mongo.Db, insert: string): Promise<void> {
  const answer = await db.command({ insert, documents: [{ _id: [] }] });
  const [refused] = (answer['writeErrors'] ?? []) as { code?: number }[]; // as MongoDB's reference has it
  const error = new mongo.MongoServerError(refused ?? {});
  if (refusesEveryWrite(error)) throw error;
}

async function openStream(collection: Probed): Promise<void> {
  const stream = collection.watch([], { maxAwaitTimeMS: 1 });
  try {
    await stream.tryNext();
  } finally {
    await stream.close();
  }
}

const silent = {
  callFinished: () => undefined,
  rateLimited: () => undefined,
  slotWaited: () => undefined,
  clockMoved: () => undefined,
};

/** The one call is counted nowhere: the user may lack the right to count it. */
const atOnce: Budget = {
  take: (endpoints, { callsPerSecond }) => {
    const now = Date.now();
    const slots = endpoints.map(() => ({ kind: 'granted', at: now }) as const);
    const month = { calls: endpoints.length, endsAt: now };
    return Promise.resolve({ now, callsPerSecond, inFlightShare: 1, month, slots });
  },
  count: () => Promise.resolve(),
  slowDown: () => Promise.resolve(),
};

/**
 * Lists one customer with the key. Returns why that is not possible, if it is not. Whether the key is of the
 * database's account is not looked at.
 */
export async function tryKey(
  { db }: OurDatabase,
  config: Config['stripe'],
  { logger, signal }: { readonly logger: Logger; readonly signal: AbortSignal },
): Promise<Fault | undefined> {
  const gateway = createStripeGateway({
    config,
    verifyKey: () => Promise.resolve(),
    confirmBinding: () => Promise.resolve(),
    budget: atOnce,
    clock: createMongoClock(db),
    observer: silent,
    logger,
  });
  try {
    await gateway.source(mainResource).list({ limit: 1 }, { priority: 'small', signal, isTrial: true });
    return undefined;
  } catch (error) {
    if (signal.aborted || !isFault(error)) throw error;
    return error;
  } finally {
    await gateway.close();
  }
}
