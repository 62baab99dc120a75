// Classifies MongoDB's errors, for all callers, and retries transient ones. Every step that is retried here
// is idempotent.
import mongoose, { mongo } from 'mongoose';
import { Fault, isFault } from '../base/errors.js';
import { backoffMs, pause } from '../base/waiting.js';

/** True for a transient error (network, election, time limit): the same step may be retried. */
export function isPassing(error: unknown): boolean {
  if (isFault(error)) return error.code === 'mongodb_unavailable';
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
  const code = error instanceof mongo.MongoServerError ? (error.codeName ?? String(error.code)) : undefined;
  const name = code ?? (error instanceof Error ? error.name : typeof error);
  return new Fault('mongodb_rejected', `MongoDB refused ${doing}: ${name}`, { cause: error });
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
  namespaceNotFound: 26,
  namespaceExists: 48,
  indexOptionsConflict: 85,
  indexKeySpecsConflict: 86,
  documentValidationFailure: 121,
  duplicateKey: 11_000,
  /** Change streams on a standalone server. */
  needsReplicaSet: 40_573,
  invalidResumeToken: 260,
  changeStreamFatalError: 280,
  changeStreamHistoryLost: 286,
} as const;

/**
 * Transient codes without a label of the driver: time limits, lost and changing primaries, a late write
 * concern.
 */
const passingCodes: ReadonlySet<unknown> = new Set([
  6, 7, 50, 64, 89, 91, 100, 112, 133, 189, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
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
