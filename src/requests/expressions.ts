// Parts of aggregation pipelines that read and write a request. They run in MongoDB, by its clock. They take
// no field's type for granted, for anybody may have written anything (docs/adr/0006-forged-documents.md).
// Constants go in as $literal: a text that begins with $ would be code.
import type { mongo } from 'mongoose';
import { type Config, maxLeaseMs } from '../config/schema.js';
import { readableBytes, type ReadableField, readableFields } from './parse.js';
import {
  type EndStatus,
  historyLength,
  maxAttemptsLimit,
  requestedByCron,
  unknownCommandWaitMs,
} from './request.js';

export type Expression = mongo.BSON.Document | string | number | boolean | null;
export type Pipeline = mongo.BSON.Document[];
export type Filter = mongo.BSON.Document;

export const literal = (value: unknown): Expression => ({ $literal: value });

const isDate = (path: string): Expression => ({ $eq: [{ $type: path }, 'date'] });

export const bytesOf = (path: string): Expression => ({ $bsonSize: { value: path } });

/** A whole number within the bounds, otherwise `fallback`, whatever is stored there. */
function wholeNumber(path: string, min: number, max: number, fallback: Expression): Expression {
  const number = { $convert: { input: path, to: 'long', onError: null, onNull: null } };
  return {
    $let: {
      vars: { number: { $cond: [{ $isNumber: path }, number, null] } },
      in: {
        $cond: [{ $and: [{ $gte: ['$$number', min] }, { $lte: ['$$number', max] }] }, '$$number', fallback],
      },
    },
  };
}

// Filters

/**
 * Waiting: the status is missing or `pending`. A list that holds `pending` matches too; the claim tells
 * (`oddStatus`).
 */
export const isPending: Filter = { status: { $in: ['pending', null] } };

/**
 * `runAt` has come, by MongoDB's clock. Types that sort below dates pass, so that they are claimed and
 * refused by name.
 */
export const isDue: Filter = { $expr: { $lte: ['$runAt', '$$NOW'] } };

/** Waiting for one of the commands, due, not cancelled, and no scan that another one runs for. */
export const isClaimable = (commands: readonly string[]): Filter => ({
  ...isPending,
  ...isDue,
  command: { $in: commands },
  cancel: { $ne: true },
  ...(commands.includes('syncAll') && { $or: [{ command: { $ne: 'syncAll' } }, { waitsFor: null }] }),
});

/** A lease as daemons write it, of whichever version. */
export const ownLease: Filter = { 'lease.owner': { $type: 'string' }, 'lease.fence': { $type: 'number' } };
/**
 * Clocks of two members of a replica set differ a little: a lease that looks slightly too long may be
 * genuine.
 */
const clockToleranceMs = 60_000;

const isLeaseSoon: Expression = {
  $lte: ['$lease.expiresAt', { $add: ['$$NOW', maxLeaseMs + clockToleranceMs] }],
};
/** The end of a lease, unless no daemon can have written it. */
const boundedLeaseEnd: Expression = {
  $cond: [{ $and: [isDate('$lease.expiresAt'), isLeaseSoon] }, '$lease.expiresAt', null],
};

/** Its status is running, but its lease is over, malformed, or longer than any daemon's. */
export const isAbandoned: Filter = {
  status: 'running',
  $or: [
    { $nor: [ownLease] },
    {
      $expr: {
        $not: [
          {
            $and: [isDate('$lease.expiresAt'), { $gt: ['$lease.expiresAt', '$$NOW'] }, isLeaseSoon],
          },
        ],
      },
    },
  ],
};

// Values

export const leaseEnd = (leaseMs: number): Expression => ({ $add: ['$$NOW', leaseMs] });

const soundFence: Expression = wholeNumber('$lease.fence', 0, Number.MAX_SAFE_INTEGER - 1, 0);
export const nextFence: Expression = { $add: [soundFence, 1] };

/** A status that is a list, which a filter on its entries cannot tell from the status itself. */
export const oddStatus: Expression = { $cond: [{ $isArray: '$status' }, true, '$$REMOVE'] };

/**
 * Attempts begun; none of a request that had ended and was set back to pending. Bounded, so that a forged
 * number gives none for ever.
 */
export const attemptsSoFar: Expression = {
  $cond: [isDate('$finishedAt'), 0, wholeNumber('$attempts', 0, 1_000_000, 0)],
};

export const maxAttemptsOf = (byDefault: number): Expression =>
  wholeNumber('$maxAttempts', 1, maxAttemptsLimit, byDefault);

/**
 * When it was inserted: what its ObjectId says, or when a daemon first saw it. Never in the future, whatever
 * a client's clock says.
 */
export const createdAt: Expression = {
  $min: [
    '$$NOW',
    {
      $cond: [
        { $eq: [{ $type: '$_id' }, 'objectId'] },
        { $convert: { input: '$_id', to: 'date', onError: '$$NOW' } },
        '$$NOW',
      ],
    },
    { $cond: [isDate('$createdAt'), '$createdAt', '$$NOW'] },
  ],
};

/** The date that is there, unless it lies in the future: nothing that has happened does. */
const pastDate = (path: string): Expression => ({
  $cond: [{ $and: [isDate(path), { $lte: [path, '$$NOW'] }] }, path, null],
});

/**
 * The history where it is a list; docs/adr/0006-forged-documents.md says why its size is nobody's concern.
 */
export const soundHistory: Expression = {
  $cond: [{ $isArray: '$history' }, { $slice: ['$history', -historyLength] }, []],
};

/** When its last attempt ended, if a daemon has noted one. */
const lastAttemptEndedAt: Expression = {
  $let: { vars: { last: { $last: soundHistory } }, in: pastDate('$$last.finishedAt') },
};

/** The latest of the times since which it can have waited without a break, those that there are. */
const latestStart = (...others: Expression[]): Expression => ({
  $max: [
    ...others,
    { $cond: [isDate('$runAt'), '$runAt', null] },
    pastDate('$finishedAt'),
    lastAttemptEndedAt,
  ],
});

/**
 * When it could have been claimed first in this life, as far as the document tells: one that was set back by
 * hand does not say when.
 */
export const dueAt: Expression = latestStart(createdAt);
/** The same for a claim, without those that were set back by hand. */
export const knownDueAt: Expression = { $cond: [isDate('$finishedAt'), '$$REMOVE', dueAt] };

/**
 * When a daemon that cannot tell what it is first saw it waiting: a client's clock may be slow, or the `_id`
 * old.
 */
export const unknownSince: Expression = {
  $cond: [isDate('$unknownSince'), { $min: ['$unknownSince', '$$NOW'] }, '$$NOW'],
};
export const isUndated: Filter = {
  $expr: { $not: [{ $and: [isDate('$unknownSince'), { $lte: ['$unknownSince', '$$NOW'] }] }] },
};
/** Nobody has worked on it or delayed it for ten minutes: no running version knows it. */
export const isUnknownForLong: Filter = {
  $expr: {
    $and: [
      isDate('$unknownSince'),
      {
        $lte: [latestStart('$unknownSince', boundedLeaseEnd), { $subtract: ['$$NOW', unknownCommandWaitMs] }],
      },
    ],
  },
};

/** The history with the attempt that ends now. */
export const historyWith = (entry: {
  readonly attempt: Expression;
  readonly owner: Expression;
  readonly error?: object;
}): Expression => ({
  $slice: [
    {
      $concatArrays: [
        soundHistory,
        [
          {
            attempt: entry.attempt,
            startedAt: { $cond: [isDate('$startedAt'), '$startedAt', '$$NOW'] },
            finishedAt: '$$NOW',
            owner: entry.owner,
            ...(entry.error && { error: literal(entry.error) }),
          },
        ],
      ],
    },
    -historyLength,
  ],
});

export type Retention = Pick<
  Config['requests'],
  'keepSucceededSeconds' | 'keepCronSucceededSeconds' | 'keepFailedSeconds'
>;

/**
 * When a request that ends now is removed. That it is cron's is taken from `requestedBy`, which users write
 * too: all they can bring about is that a request of theirs that succeeded is kept as shortly as cron's.
 */
export function expireAt(status: EndStatus, keep: Retention): Expression {
  const after = (seconds: number): Expression => ({ $add: ['$$NOW', seconds * 1_000] });
  if (status !== 'succeeded' && status !== 'coalesced') return after(keep.keepFailedSeconds);
  return {
    $cond: [
      { $eq: ['$requestedBy', requestedByCron] },
      after(keep.keepCronSucceededSeconds),
      after(keep.keepSucceededSeconds),
    ],
  };
}

// Stages

/** Fields of the previous run, cleared when the request is claimed again. */
const endFields = [
  'finishedAt',
  'expireAt',
  'error',
  'result',
  'progress',
  'coalescedInto',
  'waitsFor',
  'unknownSince',
];
export const withoutEnd: mongo.BSON.Document = { $unset: endFields };

/** Owner and fence stay: they tell who was the last holder, and what the next fence is. */
export const leaseOver = ['lease.expiresAt', 'lease.oddStatus', 'lease.dueAt', 'lease.claim'];

/**
 * Sets whole top-level fields: $set would merge a document into what is there, and into each entry of a list.
 */
export const replaceFields = (fields: Record<string, Expression>): mongo.BSON.Document => ({
  $replaceWith: { $mergeObjects: ['$$ROOT', fields] },
});

/** Ends a request that nobody holds. */
export const endWith = (
  status: EndStatus,
  keep: Retention,
  fields: Record<string, Expression> = {},
): Pipeline => [
  withoutEnd,
  replaceFields({ status, createdAt, finishedAt: '$$NOW', expireAt: expireAt(status, keep), ...fields }),
  { $unset: [...leaseOver, 'cancel'] },
];

/** The field where it is at most that large, otherwise a word that tells its size. */
function bounded(field: string, bytes: number): Expression {
  const size = bytesOf(`$${field}`);
  return {
    $cond: [{ $lte: [size, bytes] }, `$${field}`, { $concat: ['dropped:', { $toString: size }, '-bytes'] }],
  };
}

/** MongoDB refuses documents above 16 MiB: one that is nearly as large could not take a status any more. */
const updatableBytes = 15 * 1024 * 1024;

/**
 * Empties a document that could not be updated otherwise. What is left of a field that is too large says so.
 */
export const makeUpdatable: mongo.BSON.Document = {
  $replaceWith: {
    $cond: [
      { $gt: [{ $bsonSize: '$$ROOT' }, updatableBytes] },
      {
        $mergeObjects: [
          { _id: '$_id', status: bounded('status', 1_024), lease: { fence: soundFence } },
          ...readableFields.map((field) => ({
            $cond: [
              { $eq: [{ $type: `$${field}` }, 'missing'] },
              {},
              { [field]: bounded(field, readableBytes[field]) },
            ],
          })),
        ],
      },
      '$$ROOT',
    ],
  },
};

/** Most bytes of a request that is loaded without a look at its fields. */
const harmlessBytes = 256 * 1024;

/** The fields that the worker reads, as `body`; without it where the request is large. */
export const quickProjection = {
  body: {
    $cond: [
      { $lte: [{ $bsonSize: '$$ROOT' }, harmlessBytes] },
      objectOf(readableFields, (field) => `$${field}`),
      '$$REMOVE',
    ],
  },
};

/**
 * What is loaded of a request: the fields that the worker reads, each only up to its size, with the sizes
 * beside them. A request of 16 MB costs the server a look at it and us a few bytes.
 */
export const readableProjection = {
  // As expressions: a plain nested projection would reach into fields of these names that a user may have
  // written.
  body: objectOf(readableFields, (field) => ({
    $cond: [{ $lte: [bytesOf(`$${field}`), readableBytes[field]] }, `$${field}`, '$$REMOVE'],
  })),
  sizes: objectOf(readableFields, (field) => ({
    bytes: bytesOf(`$${field}`),
    entries: { $cond: [{ $isArray: `$${field}` }, { $size: `$${field}` }, '$$REMOVE'] },
  })),
};

function objectOf(fields: readonly ReadableField[], value: (field: ReadableField) => Expression): Expression {
  return { $mergeObjects: [Object.fromEntries(fields.map((field) => [field, value(field)]))] };
}
