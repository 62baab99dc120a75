// MongoDB's clock as bounds: the time in a response was true at some moment between question and response.
// Read at most once per second. Each reading is compared with the one before, so a clock that moved is
// noticed with the next reading.
import type { mongo } from 'mongoose';
import { Fault } from '../base/errors.js';
import { orAborted, withDeadline } from '../base/waiting.js';
import { persistently } from './faults.js';

/** How long a reading is used. */
const freshMs = 1_000;
/** Most drift between two clocks that NTP adjusts (its maximum slew rate, RFC 5905). */
const drift = 500e-6;
/** A smaller move is not told: clocks of two members differ by some milliseconds. */
const toldMs = 100;
/** An answer of Stripe does not wait longer for MongoDB's time. */
const checkTimeoutMs = 1_000;

/** Bounds of MongoDB's time, in milliseconds since 1970, at `at` of `performance.now()`. */
export interface ClockReading {
  readonly earliest: number;
  readonly latest: number;
  readonly at: number;
}

interface ObservedInterval {
  readonly from: Date;
  readonly to: Date;
}

/** The interval of MongoDB's clock in which something happened. */
interface Dated {
  readonly observed: ObservedInterval & {
    /** The clock has said this time before: it was set back since. */
    readonly isRepeated?: boolean;
  };
  /** False if the clock moved meanwhile: the interval includes what it said before and after. */
  readonly isCertain: boolean;
}

/** MongoDB's time as bounds. Implements the port `SharedClock` of src/sync. */
export interface MongoClock {
  interval(signal?: AbortSignal): Promise<{ readonly earliest: Date; readonly latest: Date }>;
  /** Takes a time that came in another answer of MongoDB; it is as good as a reading. */
  learn(reading: ClockReading): void;
  /**
   * Dates what happened from `from` to `to` (`performance.now()`, not before the reading, `to` just now).
   * MongoDB is asked again if its last answer is older than a second.
   */
  dated(reading: ClockReading, from: number, to: number): Promise<Dated>;
}

export interface ClockObserver {
  /** MongoDB's clock moved by so many seconds against this process's monotonic one; below 0: back. */
  clockMoved(seconds: number): void;
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

/**
 * Creates the clock of the database's primary. Needs no privilege.
 * `interval` throws Fault `mongodb_unavailable` if MongoDB does not answer, and the signal's reason on abort.
 */
export function createMongoClock(
  db: mongo.Db,
  observer: ClockObserver = { clockMoved: () => undefined },
): MongoClock {
  /** The newest reading, and what this process's time of day was then. */
  let latest: (ClockReading & { readonly localTime: number }) | undefined;
  let running: Promise<ClockReading> | undefined;
  /** The latest time that the clock had come to before it was set back. */
  let saidUntil = -Infinity;

  const learn = (reading: ClockReading): void => {
    // Answers may overtake each other. The newest one tells what the clock says now.
    if (latest && reading.at < latest.at) return;
    const movedMs = latest ? movedBetween(latest, reading) : 0;
    if (latest && movedMs < 0) saidUntil = Math.max(saidUntil, extrapolated(latest, reading.at).latest);
    latest = { ...reading, localTime: Date.now() - (performance.now() - reading.at) };
    if (Math.abs(movedMs) >= toldMs) observer.clockMoved(movedMs / 1_000);
  };

  const read = (): Promise<ClockReading> =>
    persistently('telling its time', async () => {
      const askedAt = performance.now();
      const time = await mongoTime(db);
      const reading = readingOf(time.getTime(), askedAt, performance.now());
      learn(reading);
      return reading;
    });

  /** Only one reading at a time; all callers share it. */
  const readOnce = (): Promise<ClockReading> =>
    (running ??= read().finally(() => {
      running = undefined;
    }));

  const freshReading = (): ClockReading | undefined => {
    if (!latest) return undefined;
    const ageMs = performance.now() - latest.at;
    // The monotonic clock stands still while the machine sleeps, and the time of day does not.
    const sleptMs = Math.abs(Date.now() - latest.localTime - ageMs);
    return ageMs <= freshMs && sleptMs < toldMs ? latest : undefined;
  };

  return {
    async interval(signal) {
      signal?.throwIfAborted();
      const reading = freshReading() ?? (await orAborted(readOnce(), signal));
      const now = performance.now();
      const { from, to } = observedBetween(reading, now, now);
      return { earliest: from, latest: to };
    },

    learn,

    async dated(reading, from, to) {
      const now =
        freshReading() ??
        (await withDeadline(checkTimeoutMs, readOnce, () => undefined).catch(() => undefined)) ??
        reading; // MongoDB does not answer: what it said last is all that is known
      const dated = datedBy(reading, now, from, to);
      const isRepeated = dated.observed.from.getTime() < saidUntil;
      return isRepeated ? { ...dated, observed: { ...dated.observed, isRepeated } } : dated;
    },
  };
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

/** What a reading says of another moment, before or after it. */
const extrapolated = ({ earliest, latest, at }: ClockReading, to: number): ClockReading => {
  const elapsed = to - at;
  const uncertain = Math.abs(elapsed) * drift;
  return { earliest: earliest + elapsed - uncertain, latest: latest + elapsed + uncertain, at: to };
};

/** Least move of the clock that explains both readings, in milliseconds; 0 if none is needed. */
function movedBetween(before: ClockReading, after: ClockReading): number {
  const expected = extrapolated(before, after.at);
  if (after.earliest > expected.latest) return after.earliest - expected.latest;
  if (after.latest < expected.earliest) return after.latest - expected.earliest;
  return 0;
}

/**
 * The interval of MongoDB's clock that certainly includes `from` to `to` (`performance.now()`, not before the
 * reading).
 */
export const observedBetween = (reading: ClockReading, from: number, to: number): ObservedInterval => ({
  from: new Date(Math.floor(extrapolated(reading, from).earliest)),
  to: new Date(Math.ceil(extrapolated(reading, to).latest)),
});

/** Dates by two readings, which differ if the clock moved between them. */
function datedBy(before: ClockReading, after: ClockReading, from: number, to: number): Dated {
  const first = observedBetween(before, from, to);
  const movedMs = movedBetween(before, after);
  if (movedMs === 0) return { observed: first, isCertain: true };
  const second = observedBetween(after, from, to);
  const observed = {
    from: second.from < first.from ? second.from : first.from,
    to: second.to > first.to ? second.to : first.to,
  };
  return { observed, isCertain: Math.abs(movedMs) < toldMs };
}
