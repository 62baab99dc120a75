// Bounds of MongoDB's time at any moment of this process, from one reading of it.
import type { Observed } from '../sync/ports.js';

/** Two clocks that NTP keeps drift apart by no more than this (its greatest slew rate, RFC 5905). */
const drift = 500e-6;

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
export const observedBetween = (reading: ClockReading, from: number, to: number): Observed => ({
  from: new Date(Math.floor(reading.earliest + (from - reading.at) * (1 - drift))),
  to: new Date(Math.ceil(reading.latest + (to - reading.at) * (1 + drift))),
});
