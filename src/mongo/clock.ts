// MongoDB's clock as bounds: what it said was true at some moment between asking and being answered. Read at most once a second.
import type { mongo } from 'mongoose';
import { Fault } from '../base/errors.js';
import { orAborted } from '../base/waiting.js';
import { persistently } from './faults.js';

/** How long a reading is used. */
const freshMs = 1_000;
/** Two clocks that NTP keeps drift apart by no more than this (its greatest slew rate, RFC 5905). */
const drift = 500e-6;

/** MongoDB's time as bounds. Implements the port `SharedClock` of src/sync. */
export interface MongoClock {
  interval(signal?: AbortSignal): Promise<{ readonly earliest: Date; readonly latest: Date }>;
}

/** What the database's primary says its time is; no privilege is needed. @throws what the driver throws; Fault `mongodb_unavailable` */
export async function mongoTime(db: mongo.Db): Promise<Date> {
  const { localTime } = await db.command({ hello: 1 });
  if (localTime instanceof Date) return localTime;
  throw new Fault('mongodb_unavailable', 'MongoDB did not tell its time', { kind: 'retryable' });
}

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
export function createMongoClock(db: mongo.Db): MongoClock {
  let latest: Reading | undefined;
  let running: Promise<Reading> | undefined;

  async function read(): Promise<Reading> {
    return persistently('telling its time', async () => {
      const askedAt = performance.now();
      const time = await mongoTime(db);
      const answeredAt = performance.now();
      latest = { time: time.getTime(), askedAt, answeredAt };
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

// Bounds of MongoDB's time at any moment of this process, from one reading of it.

/** What is known of MongoDB's time: at `at` of `performance.now()` it lay between the two, in milliseconds since 1970. */
export interface ClockReading {
  readonly earliest: number;
  readonly latest: number;
  readonly at: number;
}

/**
 * From a time in an answer of MongoDB: read at some moment between asking and the answer (`performance.now()`).
 * MongoDB cuts its time to whole milliseconds, so it may have been up to one later.
 */
export const readingOf = (time: number, askedAt: number, answeredAt: number): ClockReading => ({
  earliest: time,
  latest: time + 1 + (answeredAt - askedAt),
  at: answeredAt,
});

/** The interval of MongoDB's clock that certainly holds everything from `from` to `to` (`performance.now()`, not before the reading). */
export const observedBetween = (
  reading: ClockReading,
  from: number,
  to: number,
): { readonly from: Date; readonly to: Date } => ({
  from: new Date(Math.floor(reading.earliest + (from - reading.at) * (1 - drift))),
  to: new Date(Math.ceil(reading.latest + (to - reading.at) * (1 + drift))),
});
