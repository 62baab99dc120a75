// What the mirror needs in MongoDB: its collection, its indexes, and the view without deleted customers.
import type { mongo } from 'mongoose';
import { type Change, type CollectionPlan, ensureCollection, ensureView } from '../mongo/collections.js';
import { persistently } from '../mongo/faults.js';

/** The fields of a head, in an index that covers reads by interval of `created`. */
const headIndex = {
  created: 1,
  _id: 1,
  '_sync.hash': 1,
  '_sync.observed.from': 1,
  '_sync.observed.to': 1,
  '_sync.deletedBy': 1,
} as const;

export const mirrorPlan = (collection: string): CollectionPlan => ({
  name: collection,
  indexes: [
    { key: headIndex, name: 'heads_by_created' },
    {
      key: { '_sync.deletedAt': 1 },
      name: 'deleted',
      partialFilterExpression: { '_sync.deletedAt': { $exists: true } },
    },
  ],
});

/** Matches what we have never written: each write of ours has its time. */
export const notWrittenByUs: mongo.Filter<mongo.Document> = {
  '_sync.writtenAt': { $not: { $type: 'date' } },
};

/** The mirror without the customers that are marked as deleted. */
export const liveView = (collection: string) => ({
  name: `${collection}_live`,
  viewOn: collection,
  pipeline: [{ $match: { '_sync.deletedAt': { $exists: false } } }],
});

/**
 * Creates what is missing.
 * @throws Fault `mongodb_rejected` (fatal where the user lacks the rights), `mongodb_unavailable`
 */
export async function ensureMirror(db: mongo.Db, collection: string): Promise<readonly Change[]> {
  const { name, ...view } = liveView(collection);
  return persistently('creating the mirror', async () => [
    ...(await ensureCollection(db, mirrorPlan(collection))),
    await ensureView(db, name, view),
  ]);
}
