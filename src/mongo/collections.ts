// Collections with their indexes: creates missing ones, or lists them. Nothing is ever dropped or changed,
// because everything else belongs to the user.
import { mongo } from 'mongoose';
import { Fault } from '../base/errors.js';
import { hasCode } from './faults.js';

export interface CollectionPlan {
  readonly name: string;
  readonly indexes: readonly (mongo.IndexDescription & { readonly name: string })[];
}

/** The outcome of one required collection, index, view or validator. */
export interface Change {
  /** Such as `index claim of sync_requests`. */
  readonly what: string;
  readonly outcome: 'created' | 'changed' | 'unchanged' | 'left alone' | 'refused';
  /** Why it was left alone or refused. */
  readonly note?: string;
}

export const isUnauthorized = (error: unknown): boolean => hasCode(error, 'unauthorized');

const indexText = (index: string, collection: string): string => `index ${index} of ${collection}`;

/**
 * Creates the collection and its missing indexes. @throws what the driver throws; a fatal Fault if a
 * privilege is missing
 */
export async function ensureCollection(db: mongo.Db, plan: CollectionPlan): Promise<readonly Change[]> {
  const collection = `collection ${plan.name}`;
  const before = await allowed(`list the indexes of ${plan.name}`, () => indexesOf(db, plan.name));
  if (!before) await allowed(`create the ${collection}`, () => createOnce(db, plan.name));
  const changes: Change[] = [{ what: collection, outcome: before ? 'unchanged' : 'created' }];
  for (const index of plan.indexes) {
    const what = indexText(index.name, plan.name);
    const isThere = before?.some(isSame(index)) ?? false;
    // If an index differs only in some options, MongoDB silently treats it as the same.
    if (!isThere && before?.some(({ name }) => name === index.name)) throw conflict(what, otherIndex);
    const { key, ...options } = index;
    if (!isThere) {
      await allowed(`create the ${what}`, () => db.collection(plan.name).createIndex(key, options, {})).catch(
        (error: unknown) => {
          throw conflictOf(error, what) ?? error;
        },
      );
    }
    changes.push({ what, outcome: isThere ? 'unchanged' : 'created' });
  }
  return changes;
}

/** Creates a missing view. @throws as `ensureCollection` */
export async function ensureView(
  db: mongo.Db,
  name: string,
  options: { readonly viewOn: string; readonly pipeline: mongo.BSON.Document[] },
): Promise<Change> {
  const what = `view ${name}`;
  const [existing] = await allowed('list the collections', () =>
    db.listCollections({ name }, { nameOnly: true }).toArray(),
  );
  if (existing) return { what, outcome: 'unchanged' };
  await allowed(`create the ${what}`, () => createOnce(db, name, options));
  return { what, outcome: 'created' };
}

/** A collection of the database, as far as this user may see it. */
export interface FoundCollection {
  readonly name: string;
  /** `collection`, `view` or `timeseries`. */
  readonly type: string;
  /** Undefined where the user may see no more than names. */
  readonly isCapped: boolean | undefined;
}

/** A user who may not list the collections is told those that he has any right on, by name alone. */
export async function foundCollections(
  db: mongo.Db,
  names: readonly string[],
): Promise<readonly FoundCollection[]> {
  const filter = { name: { $in: names } };
  try {
    const found = await db.listCollections(filter, { nameOnly: false }).toArray();
    return found.map((each) => ({
      name: each.name,
      type: each.type ?? 'collection',
      isCapped: 'options' in each && each.options.capped === true,
    }));
  } catch (error) {
    if (!isUnauthorized(error)) throw error;
    const found = await db.listCollections(filter, { nameOnly: true, authorizedCollections: true }).toArray();
    return found.map(({ name, type = 'collection' }) => ({ name, type, isCapped: undefined }));
  }
}

/**
 * Whether a collection whose documents this user may not read is absent, has an index of the plan, so that an
 * earlier version has created it, or is known to be empty (the right `collStats`).
 */
export async function looksOurs(db: mongo.Db, { name, indexes }: CollectionPlan): Promise<boolean> {
  const found = await allowed(`list the indexes of ${name}`, () => indexesOf(db, name));
  if (!found || indexes.some((index) => found.some(isSame(index)))) return true;
  try {
    const [stats] = await db
      .collection(name)
      .aggregate([{ $collStats: { count: {} } }])
      .toArray();
    return stats?.['count'] === 0;
  } catch (error) {
    if (isUnauthorized(error)) return false;
    throw error;
  }
}

/** The missing parts of a plan. @throws as `ensureCollection` */
export async function missingOf(db: mongo.Db, { name, indexes }: CollectionPlan): Promise<readonly string[]> {
  const found = await allowed(`list the indexes of ${name}`, () => indexesOf(db, name));
  if (!found) return [`collection ${name}`];
  return indexes.filter((index) => !found.some(isSame(index))).map((index) => indexText(index.name, name));
}

/** The options that define an index: if one of them differs, it is another index. */
const traits = [
  'key',
  'unique',
  'sparse',
  'expireAfterSeconds',
  'partialFilterExpression',
  'collation',
] as const;

type FoundIndex = { readonly [trait in 'name' | (typeof traits)[number]]?: unknown };

/** Undefined if there is no such collection. */
async function indexesOf(db: mongo.Db, name: string): Promise<readonly FoundIndex[] | undefined> {
  try {
    const found: readonly FoundIndex[] = await db.collection(name).listIndexes().toArray();
    return found;
  } catch (error) {
    if (hasCode(error, 'namespaceNotFound')) return undefined;
    throw error;
  }
}

/** The order of an index's keys matters. */
const isSame =
  (wanted: CollectionPlan['indexes'][number]) =>
  (found: FoundIndex): boolean =>
    found.name === wanted.name && traits.every((trait) => textOf(found[trait]) === textOf(wanted[trait]));

const textOf = (trait: unknown): string =>
  mongo.BSON.EJSON.stringify({ trait: trait === false ? undefined : trait });

async function createOnce(
  db: mongo.Db,
  name: string,
  options: mongo.CreateCollectionOptions = {},
): Promise<void> {
  try {
    await db.createCollection(name, options);
  } catch (error) {
    // Another replica created it first.
    if (!hasCode(error, 'namespaceExists')) throw error;
  }
}

const otherIndex = 'another index has its name or its fields';

/** A conflict with existing data or indexes: the user has to resolve it. */
function conflictOf(error: unknown, what: string): Fault | undefined {
  if (hasCode(error, 'indexOptionsConflict') || hasCode(error, 'indexKeySpecsConflict')) {
    return conflict(what, otherIndex, error);
  }
  if (hasCode(error, 'duplicateKey')) return conflict(what, 'existing documents share a key', error);
  return undefined;
}

const conflict = (what: string, reason: string, cause?: unknown): Fault =>
  new Fault('mongodb_rejected', `The ${what} cannot be created: ${reason}`, { kind: 'fatal', cause });

/** Turns a missing privilege into a fault that says what to do. */
async function allowed<T>(doing: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!isUnauthorized(error)) throw error;
    throw new Fault(
      'mongodb_rejected',
      `MongoDB does not let this user ${doing}: run "stripe-mongo-sync migrate" as one who may, and the daemon with ` +
        'MONGODB_AUTO_MIGRATE=false; docs/operations.md has roles for both',
      { kind: 'fatal', cause: error },
    );
  }
}
