// MongoDB's clock as bounds: the time in a response was true at some moment between question and response.
// Read at most once per second.
import type { mongo } from 'mongoose';
import { Fault } from '../base/errors.js';
import { orAborted } from '../base/waiting.js';
import { persistently } from './faults.js';

/** How long a reading is used. */
const freshMs = 1_000;
/** Most drift between two clocks that NTP adjusts (its maximum slew rate, RFC 5905). */
const drift = 500e-6;

/** MongoDB's time as bounds. Implements the port `SharedClock` of src/sync. */
export interface MongoClock {
  interval(signal?: AbortSignal): Promise<{ readonly earliest: Date; readonly latest: Date }>;
}

/**
 * The time of the database's primary; needs no privilege. @throws what the driver throws; Fault
 * `mongodb_unavailable`
 */
export async function mongoTime(db: mongo.Db): Promise<Date> {
  const { localTime } = await db.command({ hello: 1 });
  if (localTime instanceof Date) return localTime;
  throw new Fault('mongodb_unavailable', 'MongoDB returned no time');
}

/**
 * The second of the cluster's time, in which resume tokens count too. Undefined outside a replica set.
 * @throws what the driver throws
 */
export async function clusterSecond(db: mongo.Db): Promise<number | undefined> {
  const { operationTime } = await db.command({ ping: 1 });
  const second = (operationTime as { readonly high?: unknown } | undefined)?.high; // a Timestamp of the driver
  return typeof second === 'number' ? second : undefined;
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
 * `interval` throws Fault `mongodb_unavailable` if MongoDB does not answer, and the signal's reason on abort.
 */
export function createMongoClock(db: mongo.Db): MongoClock {
  let latest: Reading | undefined;
  let running: Promise<Reading> | undefined;

  const read = (): Promise<Reading> =>
    persistently('telling its time', async () => {
      const askedAt = performance.now();
      const time = await mongoTime(db);
      const answeredAt = performance.now();
      latest = { time: time.getTime(), askedAt, answeredAt };
      return latest;
    });

  /** Only one reading at a time; all callers share it. */
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
        // The server truncates its time to milliseconds: the true one may be up to one later.
        latest: new Date(Math.ceil(time + 1 + (now - askedAt) * (1 + drift))),
      };
    },
  };
}

/** Bounds of MongoDB's time, in milliseconds since 1970, at `at` of `performance.now()`. */
export interface ClockReading {
  readonly earliest: number;
  readonly latest: number;
  readonly at: number;
}

/**
 * Bounds from a time in an answer of MongoDB, read at some moment between question and answer
 * (`performance.now()`). MongoDB truncates its time to milliseconds, so the true one may have been up to one
 * later.
 */
export const readingOf = (time: number, askedAt: number, answeredAt: number): ClockReading => ({
  earliest: time,
  latest: time + 1 + (answeredAt - askedAt),
  at: answeredAt,
});

/**
 * The interval of MongoDB's clock that certainly includes `from` to `to` (`performance.now()`, not before the
 * reading).
 */
export const observedBetween = (
  reading: ClockReading,
  from: number,
  to: number,
): { readonly from: Date; readonly to: Date } => ({
  from: new Date(Math.floor(reading.earliest + (from - reading.at) * (1 - drift))),
  to: new Date(Math.ceil(reading.latest + (to - reading.at) * (1 + drift))),
});
