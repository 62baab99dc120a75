// The stamp of a batch: where its insertion stands among all others. Anybody may write the field `inserted`,
// so a daemon seals what it writes, with a secret in the state, and believes no other stamp.
import { createHmac } from 'node:crypto';
import { mongo } from 'mongoose';
import type { Insertion, InsertionOrder } from '../sync/telling.js';
import type { RequestId } from './request.js';
import { keyOf } from './upkeep/guarded-updates.js';

/** What is known of an insertion: its event, or that it was earlier than all events that could be read. */
export type Known = Insertion | { readonly before: Date };

/** The field `inserted` of a request. */
export type Stamp = Known & { readonly seal: string };

/**
 * Whether a change event tells a batch anew. A replacement of what waits and was never claimed is a user's: a
 * daemon's own updates, which MongoDB may log as replacements, keep the lease or end the request.
 */
export const isInsertionOfBatch: mongo.BSON.Document = {
  $and: [
    { $eq: ['$fullDocument.command', 'syncBatch'] },
    {
      $or: [
        { $eq: ['$operationType', 'insert'] },
        {
          $and: [
            { $eq: ['$operationType', 'replace'] },
            { $eq: [{ $type: '$fullDocument.lease' }, 'missing'] },
            { $eq: [{ $ifNull: ['$fullDocument.status', 'pending'] }, 'pending'] },
          ],
        },
      ],
    },
  ],
};

/** Matches these events. MongoDB looks for the type in its log, before it makes an event of an entry. */
export const insertionOfBatch: mongo.BSON.Document = {
  operationType: { $in: ['insert', 'replace'] },
  $expr: isInsertionOfBatch,
};

/** How long a secret is not read again, however many stamps do not fit it. */
const rereadMs = 1_000;
/** A forger would have to guess this much. */
const sealBytes = 12;

export class Seals {
  #secret: string | undefined;
  #reading: Promise<void> | undefined;
  #readMs = -Infinity;

  /** @param readSecret the secret that all daemons of the database share; undefined if there is none */
  constructor(private readonly readSecret: () => Promise<string | undefined>) {}

  /** The stamp to store; undefined while the secret is not known. */
  stampOf(id: RequestId, known: Known): Stamp | undefined {
    return this.#secret === undefined ? undefined : { ...known, seal: sealOf(this.#secret, id, known) };
  }

  /** What a stored stamp says; undefined if a daemon did not write it, or not on this request. */
  async read(id: RequestId, stored: unknown): Promise<Known | undefined> {
    const stamp = stampIn(stored);
    if (!stamp) return undefined;
    if (!this.#fits(id, stamp)) await this.load();
    if (!this.#fits(id, stamp)) return undefined;
    return 'token' in stamp ? { token: stamp.token, at: stamp.at } : { before: stamp.before };
  }

  /** Reads the secret, at most once a second. @throws what reading throws */
  async load(): Promise<void> {
    if (performance.now() - this.#readMs < rereadMs) return this.#reading;
    this.#readMs = performance.now();
    this.#reading = this.readSecret().then((secret) => {
      this.#secret = secret ?? this.#secret;
    });
    return this.#reading;
  }

  #fits(id: RequestId, { seal, ...known }: Stamp): boolean {
    return this.#secret !== undefined && sealOf(this.#secret, id, known) === seal;
  }
}

function sealOf(secret: string, id: RequestId, known: Known): string {
  const told =
    'token' in known ? ['event', known.token, known.at.getTime()] : ['before', known.before.getTime()];
  const text = JSON.stringify([keyOf(id), ...told]);
  return createHmac('sha256', secret).update(text).digest().subarray(0, sealBytes).toString('base64url');
}

/** The field if it has the form of a stamp: anybody may have written anything. */
function stampIn(stored: unknown): Stamp | undefined {
  if (typeof stored !== 'object' || stored === null) return undefined;
  const { token, at, before, seal } = stored as Readonly<Record<string, unknown>>; // fields are checked below
  if (typeof seal !== 'string') return undefined;
  if (typeof token === 'string' && at instanceof Date) return { token, at, seal };
  return before instanceof Date ? { before, seal } : undefined;
}

/**
 * The order of a claimed batch. Without an event an ObjectId tells the second of its client's clock. Any
 * other `_id` tells nothing: then the batch counts as inserted when a daemon first saw it. Never after the
 * claim.
 */
export function orderOf(
  claim: { readonly id: RequestId; readonly insertedAt: Date; readonly claimedAt: Date },
  known: Known | undefined,
): InsertionOrder {
  if (known && 'token' in known) return { kind: 'known', insertion: known };
  const latest = Math.min(claim.claimedAt.getTime(), known?.before.getTime() ?? Infinity);
  const [from, to] = secondOf(claim.id) ?? [claim.insertedAt.getTime(), claim.insertedAt.getTime()];
  return {
    kind: 'within',
    from: new Date(Math.min(from, latest)),
    to: new Date(Math.min(to, latest)),
    position: positionOf(claim.id),
  };
}

/**
 * ObjectIds of one process count up, within a second too:
 * https://www.mongodb.com/docs/manual/reference/bson-types/#objectid
 */
function positionOf(id: unknown): string | undefined {
  if (!(id instanceof mongo.ObjectId)) return undefined;
  const hex = id.toHexString();
  return `${hex.slice(8, 18)}:${hex}`;
}

/** First and last millisecond of the second in an ObjectId. */
function secondOf(id: unknown): readonly [number, number] | undefined {
  if (!(id instanceof mongo.ObjectId)) return undefined;
  const from = id.getTimestamp().getTime();
  return [from, from + 999];
}
