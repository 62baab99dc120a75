// Classifies MongoDB's errors, for all callers, and retries transient ones. Every step that is retried here
// is idempotent.
import mongoose, { mongo } from 'mongoose';
import { Fault, isFault } from '../base/errors.js';
import { backoffMs, pause } from '../base/waiting.js';

/** True for a transient error (network, election, time limit): the same step may be retried. */
export function isPassing(thrown: unknown): boolean {
  if (isFault(thrown)) return thrown.code === 'mongodb_unavailable';
  const error = unwrapped(thrown);
  if (error instanceof mongo.MongoServerError) {
    return (
      error.hasErrorLabel('RetryableWriteError') ||
      error.hasErrorLabel('TransientTransactionError') ||
      passingCodes.has(error.code)
    );
  }
  return (
    error instanceof mongo.MongoNetworkError ||
    error instanceof mongo.MongoServerSelectionError ||
    // As mongoose throws it when it opens a connection.
    error instanceof mongoose.Error.MongooseServerSelectionError ||
    error instanceof mongo.MongoNotConnectedError ||
    brokenConnectionCodes.has(codeOf(error))
  );
}

/**
 * True if the server refused all writes of a bulk, or one of its commands as a whole. The driver reports that
 * as an error of the bulk, without an error of any single write.
 */
export const isRefusedAsWhole = (error: unknown): error is mongo.MongoBulkWriteError =>
  error instanceof mongo.MongoBulkWriteError && [error.writeErrors].flat().length === 0;

/**
 * The driver wraps whatever ends a command of a bulk, errors of the network too. It also wraps code 20, which
 * it takes for a server without retryable writes.
 */
function unwrapped(error: unknown): unknown {
  if (!(error instanceof mongo.MongoServerError)) return error;
  const original: unknown = error['originalError'];
  if (original instanceof Error) return original;
  return isRefusedAsWhole(error) && error.errorResponse instanceof Error ? error.errorResponse : error;
}

export const isDuplicateKey = (error: unknown): boolean =>
  error instanceof mongo.MongoServerError && hasCode(error, 'duplicateKey');

export const isTooLarge = (error: unknown): boolean =>
  error instanceof mongo.MongoServerError && tooLargeCodes.has(error.code);

/**
 * A Fault that names the step in progress. The library's message is left out, because it may quote documents
 * and credentials.
 */
export function toMongoFault(error: unknown, doing: string): Fault {
  if (isFault(error)) return error;
  if (isPassing(error)) {
    return new Fault('mongodb_unavailable', `MongoDB did not answer while ${doing}`, { cause: error });
  }
  const kind = mendableCodes.has(codeOf(unwrapped(error))) ? 'retryable' : undefined;
  return new Fault('mongodb_rejected', `MongoDB refused ${doing}: ${nameOfError(error)}`, {
    cause: error,
    ...(kind && { kind }),
  });
}

/** The name of the server's code, such as `Unauthorized`, or its number; the class of any other error. */
export function nameOfError(thrown: unknown): string {
  const error = unwrapped(thrown);
  if (!(error instanceof mongo.MongoServerError)) return error instanceof Error ? error.name : typeof error;
  return (
    codeNames.get(error.code) ??
    error.codeName ??
    (error.code === undefined ? error.name : String(error.code))
  );
}

/** True if the server refuses the step, for whatever reason. */
export function isRefusal(error: unknown): boolean {
  if (isFault(error)) return error.code === 'mongodb_rejected' && isRefusal(error.cause);
  return unwrapped(error) instanceof mongo.MongoServerError && !isPassing(error);
}

/**
 * True if the server refuses the step for a reason that lies in no document: rights, a view, a write block, a
 * full disk, or that of a hosting service. Whatever document is written next is refused, too.
 */
export function refusesEveryWrite(error: unknown): boolean {
  if (isFault(error)) return error.code === 'mongodb_rejected' && refusesEveryWrite(error.cause);
  return refusingCodes.has(codeOf(unwrapped(error))) && !isPassing(error);
}

const passingBackoff = { baseMs: 100, maxMs: 2_000 } as const;

export interface Persistence {
  /**
   * How long to retry, in milliseconds; by default about as long as a healthy replica set takes to elect a
   * primary.
   */
  readonly withinMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs an idempotent step, and retries it after transient errors for `withinMs`. The driver itself retries
 * only once.
 * @throws Fault `mongodb_unavailable` or `mongodb_rejected`; the signal's reason on abort
 */
export async function persistently<T>(
  doing: string,
  step: () => Promise<T>,
  { withinMs = 10_000, signal }: Persistence = {},
): Promise<T> {
  const giveUpAt = performance.now() + withinMs;
  for (let tried = 1; ; tried += 1) {
    signal?.throwIfAborted();
    try {
      return await step();
    } catch (error) {
      const pauseMs = backoffMs(passingBackoff, tried, Math.random);
      if (!isPassing(error) || performance.now() + pauseMs >= giveUpAt) throw toMongoFault(error, doing);
      await pause(pauseMs, ...(signal ? [signal] : []));
    }
  }
}

/** Source: https://www.mongodb.com/docs/manual/reference/error-codes/ */
export const serverCodes = {
  unauthorized: 13,
  authenticationFailed: 18,
  illegalOperation: 20,
  namespaceNotFound: 26,
  maxTimeExpired: 50,
  namespaceExists: 48,
  cannotCreateIndex: 67,
  invalidOptions: 72,
  indexOptionsConflict: 85,
  indexKeySpecsConflict: 86,
  documentValidationFailure: 121,
  commandNotSupportedOnView: 166,
  duplicateKey: 11_000,
  /** Change streams on a standalone server. */
  needsReplicaSet: 40_573,
  invalidResumeToken: 260,
  changeStreamFatalError: 280,
  changeStreamHistoryLost: 286,
  userWritesBlocked: 371,
  /** Of Atlas, for instance where the storage is full. */
  atlasError: 8_000,
  outOfDiskSpace: 14_031,
} as const;

/**
 * Transient codes without a label of the driver: time limits, lost and changing primaries, a late write
 * concern.
 */
const passingCodes: ReadonlySet<unknown> = new Set([
  6, 7, 50, 64, 89, 91, 100, 112, 133, 189, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
]);

/** Refusals that end when somebody ends them elsewhere: a full disk, a block of writes during a migration. */
const mendableCodes: ReadonlySet<unknown> = new Set([
  serverCodes.userWritesBlocked,
  serverCodes.outOfDiskSpace,
]);

const refusingCodes: ReadonlySet<unknown> = new Set([
  ...mendableCodes,
  serverCodes.unauthorized,
  serverCodes.authenticationFailed,
  serverCodes.illegalOperation,
  serverCodes.commandNotSupportedOnView,
  serverCodes.atlasError,
]);

/** Names that the server sends as `Location8000`, or not: an error of a single write has a number alone. */
const codeNames: ReadonlyMap<unknown, string> = new Map([
  [serverCodes.unauthorized, 'Unauthorized'],
  [serverCodes.authenticationFailed, 'AuthenticationFailed'],
  [serverCodes.illegalOperation, 'IllegalOperation'],
  [serverCodes.commandNotSupportedOnView, 'CommandNotSupportedOnView'],
  [serverCodes.userWritesBlocked, 'UserWritesBlocked'],
  [serverCodes.atlasError, 'AtlasError'],
  [serverCodes.outOfDiskSpace, 'OutOfDiskSpace'],
]);

/**
 * Codes of Node's errors when a connection breaks during a write. The driver throws them unchanged and does
 * not retry.
 * Source: https://nodejs.org/docs/latest-v20.x/api/errors.html
 */
const brokenConnectionCodes: ReadonlySet<unknown> = new Set([
  'ECANCELED',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'ENOTCONN',
  'EPIPE',
  'ETIMEDOUT',
  'ERR_SOCKET_CLOSED',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_WRITE_AFTER_END',
]);

/** Codes of a write whose document would exceed 16 MiB. */
export const tooLargeCodes: ReadonlySet<unknown> = new Set([10_334, 17_280, 17_419, 17_420]);

/**
 * Codes by which the server refuses a whole command because of one document in it: too large, nested too
 * deeply (15), or no BSON that it reads (22).
 */
export const documentCodes: ReadonlySet<unknown> = new Set([...tooLargeCodes, 15, 22]);

/** The code of an error. It also works for another version of the driver, whose classes differ. */
const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : undefined;

export const hasCode = (error: unknown, code: keyof typeof serverCodes): boolean =>
  codeOf(error) === serverCodes[code];

/** The fields of the unique index of a duplicate-key error; none for any other error. */
export function duplicateFields(error: unknown): readonly string[] {
  if (!hasCode(error, 'duplicateKey') || !(error instanceof Error) || !('keyPattern' in error)) return [];
  const { keyPattern } = error;
  return typeof keyPattern === 'object' && keyPattern !== null ? Object.keys(keyPattern) : [];
}

/**
 * Runs an upsert of one well-known document. If two replicas find no document and both insert it, MongoDB
 * refuses one (E11000). The second try of that one finds the document.
 */
export async function againOnDuplicate<T>(upsert: () => Promise<T>): Promise<T> {
  try {
    return await upsert();
  } catch (error) {
    if (!hasCode(error, 'duplicateKey')) throw error;
    return upsert();
  }
}
