// Each mirror write as one MongoDB operation. Stripe's data appears only inside $literal or as a whole
// document. It is never used as a path or an expression.
import type { mongo } from 'mongoose';
import type { Head, MirrorWrite, StripeId } from '../sync/ports.js';
import type { Telling, ToldFields } from '../sync/telling.js';
import type { SyncStamp } from './model.js';

/** The part of the stamp that is the same in all writes of a daemon. */
export interface WriteStamp {
  /** Stripe's name of the kind of object. */
  readonly object: string;
  readonly apiVersion: string;
  readonly livemode: boolean;
}

export interface MirrorDocument {
  _id: StripeId;
  _sync?: Partial<SyncStamp>;
  [field: string]: unknown;
}

export type MirrorOperation = mongo.AnyBulkWriteOperation<MirrorDocument>;

/** No write of fields clears a mark of deletion. Absent marks stay absent. */
const marks = { deletedAt: '$_sync.deletedAt', deletedBy: '$_sync.deletedBy' } as const;

/**
 * Matches the document that the decision was made on. Earlier versions name no write; then the times of the
 * document tell. They may also keep the name of a write when they mark a deletion, so the mark counts, too.
 */
const stillStored = ({
  id,
  writeId,
  writtenAt,
  observed,
  deletedBy,
}: Head): mongo.Filter<MirrorDocument> => ({
  _id: id,
  '_sync.writeId': writeId ?? null,
  '_sync.deletedBy': deletedBy ?? null,
  ...(writeId === undefined && {
    '_sync.writtenAt': writtenAt ?? null,
    '_sync.observed.from': observed?.from ?? null,
  }),
});

/**
 * The operation of a write. The guard is in its filter: a lost race matches nothing, or is a duplicate key on
 * insert.
 */
export function toOperation(write: MirrorWrite, { object, ...rest }: WriteStamp): MirrorOperation {
  const { id, writeId, basis, source } = write;
  const stamp = { writeId, ...rest, source };
  switch (write.kind) {
    case 'put': {
      const sync = { ...stamp, ...hashOf(write.hash), ...timesOf(write.observed, write.told) };
      // Whoever waited for a read by id may insert a batch right after it. MongoDB's time of the write is a
      // better bound of the answer than the clock's uncertainty, and worth an update.
      if (!basis && source === 'retrieve')
        return update(notWrittenBy(write), replaceStage(write, sync), true);
      if (basis) {
        const guards = { ...stillStored(basis), ...inTime(write.notAfter) };
        return update(guards, replaceStage(write, sync));
      }
      const document = {
        _id: id, // the first field: in any other place copying and encoding take twice as long
        ...write.object,
        _sync: { ...sync, writtenAt: new Date(write.observed.to) },
      };
      return { insertOne: { document } };
    }
    case 'merge': {
      const hash = hashOf(write.keepsHash ? basis?.hash : undefined);
      const sync = { ...stamp, ...hash, ...timesOf(basis?.observed, write.told) };
      const stage = mergeStage(write.fields, [{ $literal: sync }, { writtenAt: '$$NOW' }, marks]);
      return basis ? update(stillStored(basis), stage) : update(notWrittenBy(write), stage, true);
    }
    case 'confirm_deleted': {
      const sync = { ...stamp, ...hashOf(basis?.hash), ...observedOf(write.observed) };
      return basis
        ? update(stillStored(basis), confirmStage(sync))
        : update(notWrittenBy(write), tombstoneStage({ id, object }, sync), true);
    }
    case 'mark_deleted':
      return update(stillStored(write.basis), {
        $set: {
          '_sync.writeId': { $literal: writeId },
          '_sync.deletedAt': '$$NOW',
          '_sync.deletedBy': 'request',
          '_sync.writtenAt': '$$NOW',
        },
      });
  }
}

const inTime = (notAfter: Date | undefined) => notAfter && { $expr: { $lte: ['$$NOW', notAfter] } };

/** Matches nothing before the write, so that an upsert inserts. If it comes again, it matches its own. */
const notWrittenBy = ({ id, writeId }: MirrorWrite): mongo.Filter<MirrorDocument> => ({
  _id: id,
  '_sync.writeId': writeId,
});

const observedOf = ({ from, to, position, isDated }: Telling) => ({
  observed: { from, to },
  ...(position !== undefined && { position }),
  ...(isDated === true && { isDated }),
});

const hashOf = (hash: string | undefined) => hash !== undefined && { hash };

/**
 * `observed` is the latest time of anything told: replicas of earlier versions know no other, and refuse what
 * is older. Where parts have told fields, `whole` has the time of the whole object.
 */
function timesOf(whole: Telling | undefined, told: readonly ToldFields[]) {
  if (told.length === 0) return whole && observedOf(whole);
  const all = [...(whole ? [whole] : []), ...told.map(({ telling }) => telling)];
  const { from, to } = all.reduce((latest, each) => (each.to > latest.to ? each : latest));
  return {
    observed: { from, to },
    ...(whole && { whole: observedOf(whole) }),
    told: told.map(({ fields, telling }) => ({ fields: [...fields], ...observedOf(telling) })),
  };
}

const replaceStage = ({ id, object }: { id: StripeId; object: object }, sync: object): mongo.Document => ({
  $replaceWith: {
    $mergeObjects: [
      { $literal: { _id: id, ...object } },
      { app: '$app', _sync: { $mergeObjects: [{ $literal: sync }, { writtenAt: '$$NOW' }, marks] } },
    ],
  },
});

const mergeStage = (fields: object, sync: readonly object[]): mongo.Document => ({
  $replaceWith: { $mergeObjects: ['$$ROOT', { $literal: fields }, { _sync: { $mergeObjects: sync } }] },
});

const deletion = { writtenAt: '$$NOW', deletedAt: '$$NOW', deletedBy: 'stripe' } as const;

/** Keeps the last known fields. */
const confirmStage = (sync: object): mongo.Document => ({
  $set: { _sync: { $mergeObjects: [{ $literal: sync }, deletion] } },
});

/** Stripe's own response. */
const tombstoneStage = ({ id, object }: { id: StripeId; object: string }, sync: object): mongo.Document => ({
  $replaceWith: {
    $mergeObjects: [
      { $literal: { _id: id, id, object, deleted: true } },
      { _sync: { $mergeObjects: [{ $literal: sync }, deletion] } },
    ],
  },
});

const update = (
  filter: mongo.Filter<MirrorDocument>,
  stage: mongo.Document,
  upsert = false,
): MirrorOperation => ({
  updateOne: { filter, update: [stage], ...(upsert && { upsert }) },
});
