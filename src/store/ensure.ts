// Creates what the mirror needs in MongoDB. Never drops or changes anything: what else is there is the user's.
import type { mongo } from 'mongoose';
import { idempotent } from './faults.js';

/** Fields that reconcile compares, in an index that covers its reads by interval of `created`. */
const headIndex = {
  created: 1,
  _id: 1,
  '_sync.hash': 1,
  '_sync.observed.from': 1,
  '_sync.observed.to': 1,
  '_sync.deletedBy': 1,
} as const;

/**
 * Creates the collection, its indexes and the view without the deleted ones.
 * @throws Fault `mongodb_rejected` where the user lacks the rights, `mongodb_unavailable`
 */
export async function ensureMirror(db: mongo.Db, collection: string): Promise<void> {
  await idempotent('creating the mirror', async () => {
    await db.collection(collection).createIndexes([
      { key: headIndex, name: 'heads_by_created' },
      {
        key: { '_sync.deletedAt': 1 },
        name: 'deleted',
        partialFilterExpression: { '_sync.deletedAt': { $exists: true } },
      },
    ]);
    await ensureView(db, `${collection}_live`, collection);
  });
}

async function ensureView(db: mongo.Db, name: string, viewOn: string): Promise<void> {
  const [existing] = await db.listCollections({ name }, { nameOnly: true }).toArray();
  if (existing) return;
  try {
    await db.createCollection(name, {
      viewOn,
      pipeline: [{ $match: { '_sync.deletedAt': { $exists: false } } }],
    });
  } catch (error) {
    // Another replica created it first.
    if ((error as mongo.MongoServerError).codeName !== 'NamespaceExists') throw error;
  }
}
