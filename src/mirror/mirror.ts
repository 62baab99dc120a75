// Implements the port Mirror on a collection: covered reads of heads, and guarded writes in bulk through the
// driver.
import type { mongo } from 'mongoose';
import type { Logger } from '../base/logger.js';
import { withoutBsonTypes } from '../mongo/bson.js';
import { isRefusal, persistently, toMongoFault } from '../mongo/faults.js';
import type { WritesObserver } from '../mongo/refused-writes.js';
import { durable } from '../mongo/sync-state.js';
import type { CreatedRange, Head, ListedHead, Mirror, Stored, StripeId } from '../sync/ports.js';
import type { Telling } from '../sync/telling.js';
import { bulkWrite, refusalOf } from './bulk.js';
import type { ToldStamp } from './model.js';
import { type MirrorDocument, toOperation, type WriteStamp } from './operations.js';
import { readSamples } from './samples.js';
import { sharingReads, sharingWrites } from './shared-commands.js';

/** What metrics learn of writes. */
export interface MirrorObserver extends WritesObserver {
  /** A bulk write was acknowledged after this many seconds. */
  writeFinished(seconds: number): void;
  /** So many stored times were found ahead of MongoDB's clock. */
  timesAhead(count: number): void;
}

export interface MirrorOptions {
  readonly db: mongo.Db;
  readonly collection: string;
  /** How Stripe's ids begin, of documents that were adopted and that no sync has written yet. */
  readonly idPrefix?: string | undefined;
  readonly stamp: WriteStamp;
  readonly observer: MirrorObserver;
  readonly logger: Pick<Logger, 'warn'>;
}

/** How often a clock that has been set back is told of, at most. */
const tellEveryMs = 60_000;

/** With MongoDB's own clock, as stored times are compared with it. */
const headProjection = { _id: 1, created: 1, _sync: 1, now: '$$NOW' } as const;

/** Only fields of the index: any other would fetch every document of the interval. */
const coveredProjection = { _id: 1, created: 1, '_sync.hash': 1, '_sync.deletedBy': 1 } as const;

/** The mirror in one collection. */
export function createMirror(options: MirrorOptions): Mirror {
  const { db, collection: name, stamp, observer, logger, idPrefix } = options;
  // What an application has put here is never looked for at Stripe, unless it has an id of Stripe.
  const mayBeOfStripe = idPrefix === undefined ? [] : [{ _id: { $regex: `^${idPrefix}` } }];
  const collection = db.collection<MirrorDocument>(name, durable);
  let toldMs = -Infinity;

  /** What is stored is not doubted, only when it was told. */
  const tellAhead = (heads: readonly Head[]): void => {
    const ahead = heads.filter(isAhead).length;
    if (ahead === 0) return;
    observer.timesAhead(ahead);
    if (performance.now() - toldMs < tellEveryMs) return;
    toldMs = performance.now();
    logger.warn(
      { ahead },
      'Stored times lie ahead of the clock of MongoDB, which has been set back; reading these objects again',
    );
  };

  const headsOf = sharingReads(async (ids) => {
    const found = await persistently('reading heads', () =>
      collection.find({ _id: { $in: [...ids] } }, { projection: headProjection }).toArray(),
    );
    const heads = found.map((document) => toHead(document, document['now']));
    tellAhead(heads);
    return new Map(heads.map((head) => [head.id, head]));
  });

  // Whole documents: few of them share a command.
  const storedOf = sharingReads(
    async (ids) => {
      const found = await persistently('reading stored objects', () =>
        collection
          .aggregate<{ document: MirrorDocument; now: Date }>([
            { $match: { _id: { $in: [...ids] } } },
            { $project: { _id: 0, document: '$$ROOT', now: '$$NOW' } },
          ])
          .toArray(),
      );
      const stored = found.map(toStored);
      tellAhead(stored.map(({ head }) => head));
      return new Map(stored.map((each) => [each.head.id, each]));
    },
    { most: 1 },
  );

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

    refusalOf: (object) => refusalOf(withoutBsonTypes(object)),

    storedOf,

    async *heads(range: CreatedRange, signal: AbortSignal) {
      // A stream is not retried: the whole run of pages is reconciled again.
      const cursor = collection.find(
        { created: { $gte: range.gte ?? 0, ...(range.lt !== undefined && { $lt: range.lt }) } },
        { projection: coveredProjection, hint: 'heads_by_created', batchSize: 2_000 },
      );
      for await (const documents of batchesOf(cursor, signal)) {
        yield documents.filter(hasTextId).map(toListedHead);
      }
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
      for await (const documents of batchesOf(cursor, signal)) {
        yield* documents.filter(hasTextId).map(({ _id }) => _id);
      }
    },

    write: sharingWrites(async (writes) => {
      const started = performance.now();
      const operations = writes.map((write) => toOperation(write, stamp));
      const results = await bulkWrite(collection, writes, operations, headsOf).catch((error: unknown) => {
        if (isRefusal(error)) observer.writesRefused('mirror');
        throw error;
      });
      observer.writesAccepted('mirror');
      observer.writeFinished((performance.now() - started) / 1_000);
      return results;
    }),

    suspects: (ids, { ofTestClocks } = { ofTestClocks: false }) =>
      idsWhere('reading candidates', {
        _id: { $in: [...ids] },
        '_sync.deletedBy': { $ne: 'stripe' },
        $or: [{ _sync: { $type: 'object' } }, ...mayBeOfStripe],
        ...(!ofTestClocks && { test_clock: null }),
      }),

    async countLive() {
      return persistently('counting the mirror', async () => (await countObjects(collection)).live);
    },

    samples: (count, after) => readSamples(collection, count, after),

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

/**
 * Counts by the collection's metadata and two indexes: no document is read. Documents whose `_id` is no text
 * are an application's, and do not count.
 */
export async function countObjects(collection: mongo.Collection<MirrorDocument>): Promise<ObjectCounts> {
  const all = await collection.estimatedDocumentCount();
  const deleted = await collection.countDocuments(
    { '_sync.deletedAt': { $exists: true } },
    { hint: 'deleted' },
  );
  // MongoDB makes index bounds of it: only those documents cost anything.
  const others = await collection.countDocuments({ _id: { $not: { $gte: '' } } } as never); // an application's own
  return { live: Math.max(0, all - deleted - others), deleted };
}

/** An adopted collection may hold documents of an application, whose ids are of any type. */
const hasTextId = ({ _id }: { readonly _id: unknown }): boolean => typeof _id === 'string';

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

const isAhead = ({ observed, told }: Head): boolean =>
  observed?.isAhead === true || told.some(({ telling }) => telling.isAhead === true);

/** @param now MongoDB's clock as the document was read; a Date */
function toHead(document: MirrorDocument, now: unknown): Head {
  const { _sync } = document;
  const { told = [], writtenAt } = _sync ?? {};
  const whole = told.length > 0 ? _sync?.whole : _sync;
  const seenAt = now instanceof Date ? now : undefined;
  return {
    ...toListedHead(document),
    writeId: _sync?.writeId,
    writtenAt,
    observed: whole && tellingOf(whole, { seenAt, writtenAt }),
    told: told.flatMap(({ fields, ...stamp }) => {
      const telling = tellingOf(stamp, { seenAt });
      return telling ? [{ fields, telling }] : [];
    }),
    seenAt,
  };
}

/** An answer came before it was written, which is often the better bound. */
function tellingOf(
  { observed, position, isDated }: Partial<ToldStamp>,
  { seenAt, writtenAt }: { readonly seenAt: Date | undefined; readonly writtenAt?: Date | undefined },
): Telling | undefined {
  if (!(observed?.to instanceof Date)) return undefined;
  const written = writtenAt instanceof Date ? writtenAt.getTime() + 1 : Infinity;
  const to = new Date(Math.max(observed.from.getTime(), Math.min(observed.to.getTime(), written)));
  const isLate = seenAt !== undefined && observed.from > seenAt;
  return { from: observed.from, to, position, isDated, ...(isLate && { isAhead: true }) };
}

function toStored({ document, now }: { document: MirrorDocument; now: Date }): Stored {
  const { _id, _sync, app, ...fields } = document;
  return { head: toHead(document, now), fields };
}
