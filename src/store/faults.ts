// Tells what a MongoDB error means, once, and retries what passes. Every step retried here is idempotent.
import { setTimeout as sleep } from 'node:timers/promises';
import mongoose, { mongo } from 'mongoose';
import { Fault, isFault } from '../errors.js';

/** Codes that pass although the driver gives them no label: exceeded time limits and lost or changing primaries. */
const passingCodes = new Set([50, 64, 91, 112, 189, 262, 11600, 11602, 10107, 13435, 13436]);

/** True for a fault of the connection, of an election or of time: the same step may be tried again. */
export function isPassing(error: unknown): boolean {
  if (error instanceof mongo.MongoServerError) {
    return (
      error.hasErrorLabel('RetryableWriteError') ||
      error.hasErrorLabel('TransientTransactionError') ||
      (typeof error.code === 'number' && passingCodes.has(error.code))
    );
  }
  return (
    error instanceof mongo.MongoNetworkError ||
    error instanceof mongo.MongoServerSelectionError ||
    // What mongoose makes of it when it opens a connection.
    error instanceof mongoose.Error.MongooseServerSelectionError ||
    error instanceof mongo.MongoNotConnectedError ||
    error instanceof mongo.MongoWriteConcernError
  );
}

/**
 * A Fault without the library's message, which may quote documents or connection strings. Code names are the server's own
 * (https://www.mongodb.com/docs/manual/reference/error-codes/).
 */
export function toFault(error: unknown, doing: string): Fault {
  if (isFault(error)) return error;
  if (isPassing(error)) {
    return new Fault('mongodb_unavailable', `MongoDB did not answer while ${doing}`, {
      kind: 'retryable',
      cause: error,
    });
  }
  const codeName =
    error instanceof mongo.MongoServerError ? (error.codeName ?? String(error.code)) : undefined;
  const name = codeName ?? (error instanceof Error ? error.name : typeof error);
  return new Fault('mongodb_rejected', `MongoDB refused ${doing}: ${name}`, {
    kind: 'terminal',
    cause: error,
  });
}

const maxTries = 6;

/**
 * Runs an idempotent step, again after passing faults, for about ten seconds at the most; the driver itself retries a write only once.
 * @throws Fault `mongodb_unavailable` (retryable) or `mongodb_rejected` (terminal); the signal's reason on abort
 */
export async function idempotent<T>(doing: string, step: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await step();
    } catch (error) {
      if (tried === maxTries || !isPassing(error)) throw toFault(error, doing);
      await sleep(100 * 2 ** tried * Math.random(), undefined, signal && { signal });
    }
  }
}
