// Whose the collections under our names are. Nothing is written to one of somebody else: the start is refused
// before an index, a validator, a view or a document is written anywhere.
import type { mongo } from 'mongoose';
import { Fault, isFault } from './base/errors.js';
import { foundCollections, type FoundCollection, looksOurs, isUnauthorized } from './mongo/collections.js';
import { liveView, mirrorPlan, notWrittenByUs } from './mirror/ensure.js';
import { againOnDuplicate, hasCode, persistently } from './mongo/faults.js';
import {
  type CollectionNames,
  isOurStateId,
  type OurDatabase,
  stateIds,
  stateOf,
} from './mongo/sync-state.js';
import { requestsPlan } from './requests/indexes.js';
import { notARequest } from './requests/expressions.js';
import { resources } from './resources/registry.js';

/** A collection of ours, and how documents of somebody else are told. */
interface Ours {
  readonly name: string;
  /** The setting that gives it another name; undefined where there is none. */
  readonly setting: string | undefined;
  /** Matches documents that are not ours. */
  readonly foreign: mongo.Filter<mongo.Document>;
  /** By its indexes we know one that we may not read. */
  readonly plan: ReturnType<typeof mirrorPlan> | undefined;
  readonly mayBeAdopted: boolean;
}

/** How long one look at all documents may take. A sample decides about those that are left. */
const lookWithinMs = 5_000;
const sampleSize = 1_000;

function collectionsOfOurs(names: CollectionNames): readonly Ours[] {
  const settingOf = (name: string): string | undefined =>
    Object.entries(names).find(([, given]) => given === name)?.[0];
  return [
    ...resources.map(({ collection }) => ({
      name: collection(names),
      setting: settingOf(collection(names)),
      foreign: notWrittenByUs,
      plan: mirrorPlan(collection(names)),
      mayBeAdopted: true,
    })),
    {
      name: names.requests,
      setting: 'requests',
      foreign: notARequest,
      plan: requestsPlan(names),
      mayBeAdopted: false,
    },
    {
      name: names.state,
      setting: 'state',
      foreign: { _id: { $not: isOurStateId } },
      plan: undefined,
      mayBeAdopted: false,
    },
  ];
}

/**
 * Judges every collection under a name of ours. One is ours if it is absent or empty, if the marker names it,
 * or if its documents are ours: a database of an earlier version, or restored without its state.
 * @param except a collection that somebody is about to adopt; `only`: the one to look at
 * @throws a fatal Fault `foreign_collection` that says what is where, and what to do; `mongodb_unavailable`,
 *   `mongodb_rejected`
 */
export async function requireOurs(
  database: OurDatabase,
  { except, only }: { readonly except?: string; readonly only?: string } = {},
): Promise<void> {
  const ours = collectionsOfOurs(database.names);
  const views = resources.map(({ collection }) => liveView(collection(database.names)).name);
  const found = await persistently('looking at the collections', () =>
    foundCollections(database.db, [...ours.map(({ name }) => name), ...views]),
  );
  const refusals = unfitNames(ours, database, found);
  if (refusals.length === 0) {
    const marked = await markedNames(database);
    for (const each of ours) {
      if (marked.has(each.name) || each.name === except || (only ?? each.name) !== each.name) continue;
      const refusal = await persistently(`looking at ${each.name}`, () => refusalOf(each, database));
      if (refusal !== undefined) refusals.push(refusal);
    }
  }
  if (refusals.length > 0)
    throw new Fault('foreign_collection', `${refusals.join('. ')}. Nothing was written`);
}

/**
 * For those who insert or change requests, and start nothing. What their user may not read is not looked at.
 * @throws as `requireOurs`
 */
export async function requireOurRequests(database: OurDatabase): Promise<void> {
  const { requests } = database.names;
  const each = collectionsOfOurs(database.names).find(({ name }) => name === requests);
  try {
    if (each === undefined || (await markedNames(database)).has(requests)) return;
    const type = await persistently(`looking at ${requests}`, () =>
      typeOfForeign(database.db.collection(requests), each.foreign),
    );
    if (type === undefined) return;
  } catch (error) {
    if (isFault(error) && isUnauthorized(error.cause)) return;
    throw error;
  }
  await requireOurs(database, { only: requests });
}

/** Notes that every collection of ours is ours, whatever is in it from now on. Idempotent. */
export async function markAsOurs(database: OurDatabase): Promise<void> {
  const names = collectionsOfOurs(database.names).map(({ name }) => name);
  const marked = await markedNames(database);
  if (names.every((name) => marked.has(name))) return;
  await persistently('marking the collections', () =>
    againOnDuplicate(() =>
      stateOf(database).updateOne(
        { _id: stateIds.ownership },
        [{ $set: { collections: { $setUnion: [known, { $literal: names }] }, markedAt: '$$NOW' } }],
        { upsert: true },
      ),
    ),
  );
}

/** Another replica may have marked some. */
const known = { $cond: [{ $isArray: '$collections' }, '$collections', []] };

async function markedNames(database: OurDatabase): Promise<ReadonlySet<unknown>> {
  const marker = await persistently('reading whose the collections are', () =>
    stateOf(database).findOne({ _id: stateIds.ownership }, { readConcern: { level: 'majority' } }),
  );
  const names: unknown = marker?.['collections'];
  return new Set(Array.isArray(names) ? names : []); // only markAsOurs writes it
}

/** Kinds that cannot hold what we write. */
function unfitNames(
  ours: readonly Ours[],
  { db, names }: OurDatabase,
  found: readonly FoundCollection[],
): string[] {
  const refusals: string[] = [];
  const byName = new Map(found.map((each) => [each.name, each]));
  for (const { name, setting } of ours) {
    const kind = unfitKind(byName.get(name));
    if (kind !== undefined)
      refusals.push(`${name} in the database ${db.databaseName} is ${kind}; ${elsewhere(setting)}`);
  }
  for (const { collection } of resources) {
    const view = byName.get(liveView(collection(names)).name);
    if (view && view.type !== 'view') {
      refusals.push(
        `${view.name} in the database ${db.databaseName} is no view, and the view of ${collection(names)} has this name; ${elsewhere('customers')}`,
      );
    }
  }
  return refusals;
}

function unfitKind(found: FoundCollection | undefined): string | undefined {
  if (found?.type === 'view') return 'a view, which cannot be written';
  if (found?.type === 'timeseries') return 'a time-series collection, whose documents cannot be replaced';
  return found?.isCapped === true ? 'a capped collection, which drops its oldest documents' : undefined;
}

/** What is in a collection that is not ours; undefined for one that is. */
async function refusalOf(each: Ours, { db }: OurDatabase): Promise<string | undefined> {
  const { name, foreign, plan, setting, mayBeAdopted } = each;
  const collection = db.collection(name);
  try {
    const type = await typeOfForeign(collection, foreign);
    if (type === undefined) return undefined;
    const count = await collection.estimatedDocumentCount();
    const adopt = mayBeAdopted
      ? ', or run "stripe-mongo-sync adopt --dry-run" to see what moving in would change'
      : '';
    return (
      `${name} in the database ${db.databaseName} holds documents that stripe-mongo-sync has not written ` +
      `(${count} in all; the _id of one of these is of type ${type}); ${elsewhere(setting)}${adopt}`
    );
  } catch (error) {
    if (!isUnauthorized(error)) throw error;
    // The role of migrate reads no document.
    if (plan === undefined || (await looksOurs(db, plan))) return undefined;
    return (
      `${name} in the database ${db.databaseName} is there already, and this user may not read whose documents ` +
      `it holds; give the user the right to find in it, or collStats where it is empty, or ${elsewhere(setting)}`
    );
  }
}

const elsewhere = (setting: string | undefined): string => {
  const another =
    setting === undefined ? '' : `set MONGODB_COLLECTIONS_${setting.toUpperCase()} to another name, or `;
  return `${another}MONGODB_DATABASE to another database`;
};

/**
 * The type of the `_id` of a document that is not ours; undefined where none was found. All documents are
 * looked at until time runs out, then a sample of them.
 */
async function typeOfForeign(
  collection: mongo.Collection,
  foreign: mongo.Filter<mongo.Document>,
): Promise<string | undefined> {
  const type = { _id: 0, type: { $type: '$_id' } };
  try {
    const found = await collection.findOne(foreign, { projection: type, maxTimeMS: lookWithinMs });
    return found?.['type'] as string | undefined; // as projected
  } catch (error) {
    if (!hasCode(error, 'maxTimeExpired')) throw error;
    const [found] = await collection
      .aggregate<{ type: string }>([
        { $sample: { size: sampleSize } },
        { $match: foreign },
        { $limit: 1 },
        { $project: type },
      ])
      .toArray();
    return found?.type;
  }
}
