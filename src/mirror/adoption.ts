// Moves into a collection that an application has filled before us. Its fields go under `app`, where no sync
// changes them. Everything is computed in MongoDB: no value leaves it, and no type changes on the way.
import type { mongo } from 'mongoose';
import { persistently } from '../mongo/faults.js';
import { durable } from '../mongo/sync-state.js';
import { notWrittenByUs } from './ensure.js';

/** How the documents of one kind of object are told that were there before us. */
export interface Adoptable {
  /** Stripe's name of the kind of object. */
  readonly object: string;
  /** How Stripe's ids begin, such as `cus_`. */
  readonly idPrefix: string;
  /** Every field that Stripe sends. */
  readonly fields: Readonly<Record<string, true>>;
}

/** What is, or would be, done with one document that we have not written. */
export interface Adopted {
  /** Of any type: an application has chosen it. */
  readonly _id: unknown;
  /**
   * `moved`: its unknown fields go under `app`. `kept`: it has none. `conflict`: `app` has other values under
   * names of unknown fields. `left`: its `_id` is not an id of Stripe.
   */
  readonly outcome: 'moved' | 'kept' | 'conflict' | 'left';
  /** Names of the unknown fields; of a conflict those that cannot move. */
  readonly fields: readonly string[];
}

export interface AdoptionOptions {
  /** Nothing is written. */
  readonly isDryRun: boolean;
  readonly signal: AbortSignal;
}

const batchSize = 500;

/**
 * Goes through the documents that we have not written, by `_id`, and moves unknown fields under `app`.
 * Stripe's fields stay, and a sync will write `_sync`. A document with a conflict stays as it is. After a
 * kill another run does the rest.
 * @throws Fault `mongodb_unavailable`, `mongodb_rejected`; the signal's reason on abort
 */
export async function* adoptDocuments(
  collection: mongo.Collection,
  adoptable: Adoptable,
  { isDryRun, signal }: AdoptionOptions,
): AsyncGenerator<readonly Adopted[], void, undefined> {
  const { unknown, conflicts, replacement } = expressionsOf(adoptable);
  const movable = { $and: [{ $ne: [unknown, []] }, { $eq: [conflicts, []] }] };
  for (let after: readonly unknown[] = []; ;) {
    signal.throwIfAborted();
    // Each batch is a query of its own, as writing one may take longer than MongoDB keeps a cursor open.
    const found = await persistently('reading the documents to adopt', () =>
      collection
        .aggregate<Found>([
          { $match: { ...notWrittenByUs, ...beyond(after) } },
          { $sort: { _id: 1 } },
          { $limit: batchSize },
          {
            $project: {
              isOfStripe: isOfStripe(adoptable),
              unknown: namesIn(unknown),
              conflicts: namesIn(conflicts),
            },
          },
        ])
        .toArray(),
    );
    const adopted = found.map(outcomeOf);
    const ids = adopted.filter(({ outcome }) => outcome === 'moved').map(({ _id }) => _id);
    if (ids.length > 0 && !isDryRun) {
      const filter = { ...notWrittenByUs, _id: { $in: ids }, $expr: movable } as mongo.Filter<mongo.Document>; // ids of any type
      await persistently('moving fields under app', () =>
        collection.updateMany(filter, [{ $replaceWith: replacement }], {
          writeConcern: durable.writeConcern,
        }),
      );
    }
    if (adopted.length > 0) yield adopted;
    if (adopted.length < batchSize) return;
    after = [adopted.at(-1)?._id];
  }
}

/** Past the `_id`, whatever its type: a plain comparison finds only ids of the same type. */
const beyond = (after: readonly unknown[]): mongo.Document =>
  after.length === 0 ? {} : { $expr: { $gt: ['$_id', { $literal: after[0] }] } };

interface Found {
  readonly _id: unknown;
  readonly isOfStripe: boolean;
  readonly unknown: readonly string[];
  readonly conflicts: readonly string[];
}

function outcomeOf({ _id, isOfStripe: isOurs, unknown, conflicts }: Found): Adopted {
  if (!isOurs) return { _id, outcome: 'left', fields: [] };
  if (conflicts.length > 0) return { _id, outcome: 'conflict', fields: conflicts };
  return { _id, outcome: unknown.length > 0 ? 'moved' : 'kept', fields: unknown };
}

/** An id of the usual form, or one that the document itself tells as that of such an object. */
const isOfStripe = ({ idPrefix, object }: Adoptable): mongo.Document => ({
  $cond: [
    { $eq: [{ $type: '$_id' }, 'string'] },
    {
      $or: [
        { $regexMatch: { input: '$_id', regex: new RegExp(`^${idPrefix}[A-Za-z0-9]+$`) } },
        { $and: [{ $eq: ['$object', object] }, { $eq: ['$id', '$_id'] }] },
      ],
    },
    false,
  ],
});

const namesIn = (entries: mongo.Document): mongo.Document => ({
  $map: { input: entries, as: 'entry', in: '$$entry.k' },
});

/** A `_sync` of somebody else is an unknown field, too. */
function expressionsOf({ fields }: Adoptable) {
  const known = { $in: ['$$entry.k', { $literal: ['_id', 'app', ...Object.keys(fields)] }] };
  const entriesWhere = (cond: mongo.Document): mongo.Document => ({
    $filter: { input: { $objectToArray: '$$ROOT' }, as: 'entry', cond },
  });
  const unknown = entriesWhere({ $not: [known] });
  const appType = { $type: '$app' };
  const own = { $cond: [{ $eq: [appType, 'object'] }, { $objectToArray: '$app' }, []] };
  const differs = { $and: [{ $eq: ['$$own.k', '$$entry.k'] }, { $ne: ['$$own.v', '$$entry.v'] }] };
  const isTaken = { $anyElementTrue: [{ $map: { input: own, as: 'own', in: differs } }] };
  const isNoObject = { $not: [{ $in: [appType, ['missing', 'object']] }] };
  const conflicts = { $filter: { input: unknown, as: 'entry', cond: { $or: [isNoObject, isTaken] } } };
  const app = { $mergeObjects: [{ $arrayToObject: [unknown] }, '$app'] };
  const replacement = { $mergeObjects: [{ $arrayToObject: [entriesWhere(known)] }, { app }] };
  return { unknown, conflicts, replacement };
}
