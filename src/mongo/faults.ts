// Tells what an error of MongoDB means, once for all parts that speak to it, and repeats what passes. Every step repeated here is idempotent.
import mongoose, { mongo } from 'mongoose';
import { Fault, isFault } from '../base/errors.js';
import { backoffMs, pause } from '../base/waiting.js';

/** True for a fault of the network, of an election or of time: the same step may be tried again. */
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
    // What mongoose makes of it when it opens a connection.
    error instanceof mongoose.Error.MongooseServerSelectionError ||
    error instanceof mongo.MongoNotConnectedError ||
    brokenConnectionCodes.has(codeOf(error))
  );
}

export const isDuplicateKey = (error: unknown): boolean =>
  error instanceof mongo.MongoServerError && hasCode(error, 'duplicateKey');

export const isTooLarge = (error: unknown): boolean =>
  error instanceof mongo.MongoServerError && tooLargeCodes.has(error.code);

/** A Fault that says what was being done, without the library's message: that may quote documents and connection strings. */
export function toMongoFault(error: unknown, doing: string): Fault {
  if (isFault(error)) return error;
  if (isPassing(error)) {
    return new Fault('mongodb_unavailable', `MongoDB did not answer while ${doing}`, {
      kind: 'retryable',
      cause: error,
    });
  }
  const code = error instanceof mongo.MongoServerError ? (error.codeName ?? String(error.code)) : undefined;
  const name = code ?? (error instanceof Error ? error.name : typeof error);
  return new Fault('mongodb_rejected', `MongoDB refused ${doing}: ${name}`, {
    kind: 'terminal',
    cause: error,
  });
}

const passingBackoff = { baseMs: 100, maxMs: 2_000 } as const;

export interface Persistence {
  /** How long to go on trying, in milliseconds; by default as long as an election of a healthy replica set takes. */
  readonly withinMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs an idempotent step, again after passing faults until `withinMs` have gone by; the driver itself repeats a write only once.
 * @throws Fault `mongodb_unavailable` (retryable) or `mongodb_rejected` (terminal); the signal's reason on abort
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

// Codes of MongoDB's errors that mean something here, each once. What an error is to be taken for is in mongo-faults.ts.
// Source: https://www.mongodb.com/docs/manual/reference/error-codes/
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
 * Codes that pass although the driver gives them no label: time limits, lost and changing primaries, a write concern that was late.
 */
const passingCodes: ReadonlySet<unknown> = new Set([
  6, 7, 50, 64, 89, 91, 100, 112, 133, 189, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
]);

/**
 * Codes of Node that the driver hands on as they are where a connection breaks while a command is written: neither an error of its own
 * classes nor, for it, a reason to try again. Source: https://nodejs.org/docs/latest-v20.x/api/errors.html
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

/** Codes of a write whose document would be above 16 MiB. */
export const tooLargeCodes: ReadonlySet<unknown> = new Set([10_334, 17_280, 17_419, 17_420]);

/** The code of an error, also of another version of the driver than ours, whose classes are others. */
const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : undefined;

export const hasCode = (error: unknown, code: keyof typeof serverCodes): boolean =>
  codeOf(error) === serverCodes[code];

/** The fields of the unique index that an error of a duplicate key is about; none of any other error. */
export function duplicateFields(error: unknown): readonly string[] {
  if (!hasCode(error, 'duplicateKey') || !(error instanceof Error) || !('keyPattern' in error)) return [];
  const { keyPattern } = error;
  return typeof keyPattern === 'object' && keyPattern !== null ? Object.keys(keyPattern) : [];
}

// Upserts of one well-known document by several replicas at once.
/** Of two that find no document both insert it, and one is refused (E11000): its second try finds the document. */
export async function againOnDuplicate<T>(upsert: () => Promise<T>): Promise<T> {
  try {
    return await upsert();
  } catch (error) {
    if (!hasCode(error, 'duplicateKey')) throw error;
    return upsert();
  }
}
