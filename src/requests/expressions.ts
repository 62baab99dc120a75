// Parts of aggregation pipelines that read and write a request. They run in MongoDB, by its clock. They
// assume no field's type, because anybody may have written anything (docs/adr/0006-forged-documents.md).
// Constants are wrapped in $literal: a string that begins with $ would be code.
import type { mongo } from 'mongoose';
import { type Config, maxLeaseMs } from '../config/schema.js';
import { commandNames } from './commands.js';
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

/** A whole number within the bounds; `fallback` for any other stored value. */
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
 * `runAt` has passed, by MongoDB's clock. Types that sort below dates match too, so that the claim can refuse
 * them by name.
 */
export const isDue: Filter = { $expr: { $lte: ['$runAt', '$$NOW'] } };

/** Pending with one of the commands, due, not cancelled, and without another scan that runs on its behalf. */
export const isClaimable = (commands: readonly string[]): Filter => ({
  ...isPending,
  ...isDue,
  command: { $in: commands },
  cancel: { $ne: true },
  ...(commands.includes('syncAll') && { $or: [{ command: { $ne: 'syncAll' } }, { waitsFor: null }] }),
});

/** A lease as any version of the daemon writes it. */
export const ownLease: Filter = { 'lease.owner': { $type: 'string' }, 'lease.fence': { $type: 'number' } };

/**
 * Matches what is neither a request with a command of ours nor one that a daemon has worked on or refused:
 * most likely a job of another application.
 */
export const notARequest: Filter = {
  $nor: [
    { command: { $in: commandNames } },
    ownLease,
    { unknownSince: { $type: 'date' } },
    { status: 'failed', 'error.code': { $in: ['invalid_request', 'unknown_command'] } },
  ],
};
/**
 * Clocks of two members of a replica set differ slightly, so a lease that looks slightly too long may be
 * genuine.
 */
const clockToleranceMs = 60_000;

const isLeaseSoon: Expression = {
  $lte: ['$lease.expiresAt', { $add: ['$$NOW', maxLeaseMs + clockToleranceMs] }],
};
/** The end of a lease; absent if no daemon can have written it. */
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

/** The status is a list: a filter that matches its entries cannot tell it from a plain status. */
export const oddStatus: Expression = { $cond: [{ $isArray: '$status' }, true, '$$REMOVE'] };

/**
 * Number of attempts begun; 0 for an ended request that was requeued by hand. Bounded, so that a forged
 * number cannot give endless attempts.
 */
export const attemptsSoFar: Expression = {
  $cond: [isDate('$finishedAt'), 0, wholeNumber('$attempts', 0, 1_000_000, 0)],
};

export const maxAttemptsOf = (byDefault: number): Expression =>
  wholeNumber('$maxAttempts', 1, maxAttemptsLimit, byDefault);

/**
 * When it was inserted, by its ObjectId, or when a daemon first saw it. Never in the future, whatever a
 * client's clock says.
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

/** The stored date, unless it lies in the future: a past event cannot. */
const pastDate = (path: string): Expression => ({
  $cond: [{ $and: [isDate(path), { $lte: [path, '$$NOW'] }] }, path, null],
});

/** The history if it is a list. Its size does not matter; docs/adr/0006-forged-documents.md says why. */
export const soundHistory: Expression = {
  $cond: [{ $isArray: '$history' }, { $slice: ['$history', -historyLength] }, []],
};

/** When its last attempt ended, if a daemon has recorded one. */
const lastAttemptEndedAt: Expression = {
  $let: { vars: { last: { $last: soundHistory } }, in: pastDate('$$last.finishedAt') },
};

/** The latest known start of its uninterrupted wait. */
const latestStart = (...others: Expression[]): Expression => ({
  $max: [
    ...others,
    { $cond: [isDate('$runAt'), '$runAt', null] },
    pastDate('$finishedAt'),
    lastAttemptEndedAt,
  ],
});

/**
 * When it first could have been claimed since it was last requeued, as far as the document tells. The
 * document does not record when a user requeued it by hand.
 */
export const dueAt: Expression = latestStart(createdAt);
/** The same for a claim, without requests that were requeued by hand. */
export const knownDueAt: Expression = { $cond: [isDate('$finishedAt'), '$$REMOVE', dueAt] };

/**
 * When a daemon that does not know its command first saw it waiting. A client's clock may be slow, or the
 * `_id` old.
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
 * When a request that ends now is removed. Whether it was scheduled is taken from `requestedBy`, which users
 * write too. The only effect they can have is that their own succeeded request expires as early as a
 * scheduled one.
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

/** Owner and fence stay: they record the last holder and determine the next fence. */
export const leaseOver = ['lease.expiresAt', 'lease.oddStatus', 'lease.dueAt', 'lease.claim'];

/**
 * Sets whole top-level fields: $set would merge a document into the stored one, and into each entry of a
 * list.
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

/** The field if it is at most that large, otherwise a string that tells its size. */
function bounded(field: string, bytes: number): Expression {
  const size = bytesOf(`$${field}`);
  return {
    $cond: [{ $lte: [size, bytes] }, `$${field}`, { $concat: ['dropped:', { $toString: size }, '-bytes'] }],
  };
}

/** MongoDB refuses documents above 16 MiB, so a document near that size could not take a status any more. */
const updatableBytes = 15 * 1024 * 1024;

/** Empties a document that could not be updated otherwise. A note replaces each field that is too large. */
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

/** Maximum size, in bytes, of a request that is loaded without checking its fields. */
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
 * The loaded part of a request: the fields that the worker reads, each up to its maximum size, and the sizes
 * of all of them. A request of 16 MB costs the server one check and this process a few bytes.
 */
export const readableProjection = {
  // Expressions, because a plain nested projection would reach into user-written fields of these names.
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
