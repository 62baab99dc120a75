// Tells what an error of MongoDB means, once for all parts that speak to it, and repeats what passes. Every step repeated here is idempotent.
import { setTimeout as sleep } from 'node:timers/promises';
import mongoose, { mongo } from 'mongoose';
import { Fault, isFault } from './errors.js';
import { brokenConnectionCodes, codeOf, hasCode, passingCodes, tooLargeCodes } from './mongo-codes.js';

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

const longestPauseMs = 2_000;

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
      const pauseMs = Math.min(50 * 2 ** tried, longestPauseMs) * Math.random();
      if (!isPassing(error) || performance.now() + pauseMs >= giveUpAt) throw toMongoFault(error, doing);
      await sleep(pauseMs, undefined, signal && { signal }).catch(() => undefined);
    }
  }
}
