// Implements the port Mirror on a collection: covered reads of heads, and guarded writes in bulk through the
// driver.
import type { mongo } from 'mongoose';
import { persistently, toMongoFault } from '../mongo/faults.js';
import { durable } from '../mongo/sync-state.js';
import type { CreatedRange, Head, ListedHead, Mirror, StripeId } from '../sync/ports.js';
import { bulkWrite } from './bulk.js';
import { type MirrorDocument, toOperation, type WriteStamp } from './operations.js';
import { sharingReads, sharingWrites } from './shared-commands.js';

/** What metrics learn of writes. */
export interface MirrorObserver {
  /** A bulk write was acknowledged after this many seconds. */
  writeFinished(seconds: number): void;
}

export interface MirrorOptions {
  readonly db: mongo.Db;
  readonly collection: string;
  readonly stamp: WriteStamp;
  readonly observer: MirrorObserver;
}

const headProjection = {
  _id: 1,
  created: 1,
  '_sync.hash': 1,
  '_sync.observed': 1,
  '_sync.deletedBy': 1,
} as const;

/** Only fields of the index: any other would fetch every document of the interval. */
const coveredProjection = { _id: 1, created: 1, '_sync.hash': 1, '_sync.deletedBy': 1 } as const;

/** The mirror in one collection. */
export function createMirror({ db, collection: name, stamp, observer }: MirrorOptions): Mirror {
  const collection = db.collection<MirrorDocument>(name, durable);

  const headsOf = sharingReads(async (ids) => {
    const found = await persistently('reading heads', () =>
      collection
        .find({ _id: { $in: [...ids] } }, { projection: headProjection })
        .map(toHead)
        .toArray(),
    );
    return new Map(found.map((head) => [head.id, head]));
  });

  const idsWhere = (
    doing: string,
    filter: mongo.Filter<MirrorDocument>,
    options: mongo.FindOptions = {},
  ): Promise<StripeId[]> =>
    persistently(doing, () =>
      collection
        .find(filter, { ...options, projection: { _id: 1 } })
        .map(({ _id }) => _id)
        .toArray(),
    );

  return {
    headsOf,

    async *heads(range: CreatedRange, signal: AbortSignal) {
      // A stream is not retried: the whole run of pages is reconciled again.
      const cursor = collection.find(
        { created: { $gte: range.gte ?? 0, ...(range.lt !== undefined && { $lt: range.lt }) } },
        { projection: coveredProjection, hint: 'heads_by_created', batchSize: 2_000 },
      );
      for await (const documents of batchesOf(cursor, signal)) yield documents.map(toListedHead);
    },

    async *withoutCreated(signal: AbortSignal) {
      // Whatever `heads` cannot find: absent, negative, of another type. MongoDB makes index bounds of it.
      const cursor = collection.find(
        {
          created: { $not: { $gte: 0 } },
          '_sync.deletedBy': { $ne: 'stripe' },
        } as mongo.Filter<MirrorDocument>,
        { projection: { _id: 1 }, batchSize: 2_000 },
      );
      for await (const documents of batchesOf(cursor, signal)) yield* documents.map(({ _id }) => _id);
    },

    write: sharingWrites(async (writes) => {
      const started = performance.now();
      const operations = writes.map((write) => toOperation(write, stamp));
      const results = await bulkWrite(collection, writes, operations, headsOf);
      observer.writeFinished((performance.now() - started) / 1_000);
      return results;
    }),

    suspects: (ids) =>
      idsWhere('reading candidates', {
        _id: { $in: [...ids] },
        '_sync.deletedBy': { $ne: 'stripe' },
        test_clock: null,
      }),

    async countLive() {
      return persistently('counting the mirror', async () => (await countObjects(collection)).live);
    },

    sampleIds: (count) =>
      idsWhere(
        'sampling the mirror',
        // Batches and marks may name customers that never existed at Stripe.
        { '_sync.deletedAt': { $exists: false }, '_sync.source': { $in: ['list', 'retrieve'] } },
        { sort: { created: -1 }, limit: count },
      ),

    async sampleCreated(count: number) {
      return persistently('sampling the mirror', async () => {
        const sampled = await collection
          .aggregate<{ created?: unknown }>([
            { $sample: { size: count } },
            { $project: { _id: 0, created: 1 } },
          ])
          .toArray();
        return sampled.map(({ created }) => created).filter((created) => typeof created === 'number');
      });
    },
  };
}

export interface ObjectCounts {
  readonly live: number;
  /** Marked as deleted. */
  readonly deleted: number;
}

/** Counts by the collection's metadata and the partial index of deletions: no document is read. */
export async function countObjects(collection: mongo.Collection<MirrorDocument>): Promise<ObjectCounts> {
  const all = await collection.estimatedDocumentCount();
  const deleted = await collection.countDocuments(
    { '_sync.deletedAt': { $exists: true } },
    { hint: 'deleted' },
  );
  return { live: Math.max(0, all - deleted), deleted };
}

/** Raw documents as MongoDB sends them: one promise per document would cost as much as reading it. */
async function* batchesOf<D extends object>(
  cursor: mongo.FindCursor<D>,
  signal: AbortSignal,
): AsyncGenerator<readonly D[], void, undefined> {
  try {
    for await (const document of cursor) {
      signal.throwIfAborted();
      yield [document, ...cursor.readBufferedDocuments()];
    }
  } catch (error) {
    signal.throwIfAborted();
    throw toMongoFault(error, 'reading the mirror');
  } finally {
    await cursor.close();
  }
}

/** A covered read returns null for fields that a document does not have. */
const toListedHead = ({ _id, created, _sync }: MirrorDocument): ListedHead => ({
  id: _id,
  created: typeof created === 'number' ? created : undefined,
  hash: _sync?.hash ?? undefined,
  deletedBy: _sync?.deletedBy ?? undefined,
});

function toHead(document: MirrorDocument): Head {
  const observed = document._sync?.observed;
  return { ...toListedHead(document), observed: observed?.to instanceof Date ? observed : undefined };
}
