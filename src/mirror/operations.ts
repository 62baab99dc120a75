// Each mirror write as one MongoDB operation. Stripe's data appears only inside $literal or as a whole
// document. It is never used as a path or an expression.
import type { mongo } from 'mongoose';
import type { MirrorWrite, StripeId } from '../sync/ports.js';
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

/** Matches a document that was observed before the write's read was sent, and is not confirmed deleted. */
const observedBefore = ({ id, observed }: MirrorWrite) => ({
  _id: id,
  '_sync.deletedBy': { $ne: 'stripe' },
  $or: [{ '_sync.observed.to': { $lte: observed.from } }, { '_sync.observed.to': { $exists: false } }],
});

/**
 * The operation of a write. The guard is in its filter: a lost race matches nothing, or is a duplicate key on
 * insert.
 */
export function toOperation(
  write: MirrorWrite,
  { object, apiVersion, livemode }: WriteStamp,
): MirrorOperation {
  const { id, observed, source } = write;
  const stamp = { observed: { from: observed.from, to: observed.to }, apiVersion, livemode, source };
  switch (write.kind) {
    case 'insert':
      return {
        insertOne: {
          document: {
            _id: id, // the first field: in any other place copying and encoding take twice as long
            ...write.object,
            _sync: { ...stamp, hash: write.hash, writtenAt: new Date(observed.to) },
          },
        },
      };
    case 'replace':
      return update(observedBefore(write), {
        $replaceWith: {
          $mergeObjects: [
            { $literal: { _id: id, ...write.object } },
            {
              app: '$app',
              _sync: {
                $mergeObjects: [{ $literal: { ...stamp, hash: write.hash } }, { writtenAt: '$$NOW' }, marks],
              },
            },
          ],
        },
      });
    case 'merge':
      return update(observedBefore(write), mergeStage(write, stamp), true);
    case 'confirm_deleted':
      return update(
        { _id: id, '_sync.deletedBy': { $ne: 'stripe' } },
        confirmStage({ id, object }, stamp),
        true,
      );
    case 'mark_deleted':
      return update(
        { _id: id, '_sync.deletedAt': { $exists: false } },
        {
          $set: { '_sync.deletedAt': '$$NOW', '_sync.deletedBy': 'request', '_sync.writtenAt': '$$NOW' },
        },
      );
  }
}

/** Merges top-level fields. If none changes, the document stays unchanged, stamp included. */
function mergeStage(write: Extract<MirrorWrite, { kind: 'merge' }>, stamp: object): mongo.Document {
  const merged = { $mergeObjects: ['$$ROOT', { $literal: write.fields }] };
  const stamped = {
    $mergeObjects: [
      merged,
      { _sync: { $mergeObjects: [{ $literal: stamp }, { writtenAt: '$$NOW' }, marks] } },
    ],
  };
  const isStored = { $and: [{ $ne: [{ $type: '$_sync' }, 'missing'] }, { $eq: [merged, '$$ROOT'] }] };
  return { $replaceWith: { $cond: [isStored, '$$ROOT', stamped] } };
}

interface Tombstone {
  readonly id: StripeId;
  readonly object: string;
}

/** Keeps the last known fields. If nothing is stored, Stripe's own response becomes the tombstone. */
function confirmStage({ id, object }: Tombstone, stamp: object): mongo.Document {
  const sync = {
    $mergeObjects: [
      '$_sync',
      { $literal: stamp },
      { writtenAt: '$$NOW', deletedAt: '$$NOW', deletedBy: 'stripe' },
    ],
  };
  const tombstone = { $literal: { _id: id, id, object, deleted: true } };
  const isUnknown = { $eq: [{ $type: '$_sync' }, 'missing'] };
  const fields = { $cond: [isUnknown, { $mergeObjects: [tombstone, '$$ROOT'] }, '$$ROOT'] };
  return { $replaceWith: { $mergeObjects: [fields, { _sync: sync }] } };
}

const update = (filter: object, stage: mongo.Document, upsert = false): MirrorOperation => ({
  updateOne: { filter, update: [stage], ...(upsert && { upsert }) },
});
