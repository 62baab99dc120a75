// MongoDB's clock as bounds: what it said was true at some moment between asking and being answered. Read at most once a second.
import type { mongo } from 'mongoose';
import { Fault } from '../errors.js';
import type { SharedClock } from '../sync/ports.js';
import { persistently } from '../mongo-faults.js';

/** How long a reading is used. */
const freshMs = 1_000;
/** Two clocks that NTP keeps drift apart by no more than this (its greatest slew rate, RFC 5905). */
const drift = 500e-6;

interface Reading {
  /** MongoDB's time in the answer, milliseconds since 1970. */
  readonly time: number;
  /** `performance.now()` before asking and after the answer. */
  readonly askedAt: number;
  readonly answeredAt: number;
}

/**
 * Creates the clock of the database's primary. Needs no privilege.
 * `interval` throws Fault `mongodb_unavailable` (retryable) where MongoDB does not answer, and the signal's reason on abort.
 */
export function createMongoClock(db: mongo.Db): SharedClock {
  let latest: Reading | undefined;
  let running: Promise<Reading> | undefined;

  async function read(): Promise<Reading> {
    return persistently('telling its time', async () => {
      const askedAt = performance.now();
      const { localTime } = await db.command({ hello: 1 });
      const answeredAt = performance.now();
      if (!(localTime instanceof Date)) {
        throw new Fault('mongodb_unavailable', 'MongoDB did not tell its time', { kind: 'retryable' });
      }
      latest = { time: localTime.getTime(), askedAt, answeredAt };
      return latest;
    });
  }

  /** One question at a time, however many want to know. */
  const readOnce = (): Promise<Reading> =>
    (running ??= read().finally(() => {
      running = undefined;
    }));

  return {
    async interval(signal) {
      signal?.throwIfAborted();
      const isFresh = latest !== undefined && performance.now() - latest.answeredAt <= freshMs;
      const { time, askedAt, answeredAt } = isFresh && latest ? latest : await orAborted(readOnce(), signal);
      const now = performance.now();
      return {
        earliest: new Date(Math.floor(time + (now - answeredAt) * (1 - drift))),
        // The server cuts its time to whole milliseconds: it may be up to one later.
        latest: new Date(Math.ceil(time + 1 + (now - askedAt) * (1 + drift))),
      };
    },
  };
}

/** Waits for the promise until the signal aborts; the promise itself goes on. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(signal.reason as Error); // thrown as the aborting side gave it
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
  }
}
