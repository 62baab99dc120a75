// Readings of MongoDB's clock against each other: whether it moved, and what becomes of what happened meanwhile. MongoDB is not asked here.
import { mongo } from 'mongoose';
import { describe, expect, test, vi } from 'vitest';
import { createMongoClock, type MongoClock, readingOf } from '../../src/mongo/clock.js';

/** MongoDB's time, here since this process began, plus this. */
const epoch = 1.7e12;

function clockUnderWatch(): { clock: MongoClock; moves: number[] } {
  const moves: number[] = [];
  const db = new mongo.MongoClient('mongodb://127.0.0.1:1/').db(); // never asked, so never connected
  return { clock: createMongoClock(db, { clockMoved: (seconds) => void moves.push(seconds) }), moves };
}

/** A time that MongoDB gave `agoMs` ago, after a round trip of 2 ms, by a clock that is so far off. */
function reading(offsetMs = 0, agoMs = 0) {
  const answeredAt = performance.now() - agoMs;
  return readingOf(Math.floor(epoch + answeredAt - 1 + offsetMs), answeredAt - 2, answeredAt);
}

describe("MongoDB's clock has moved", () => {
  test.each([-3_600, -2, 2, 3_600])('by %i s: it is told with the next reading', (seconds) => {
    const { clock, moves } = clockUnderWatch();

    clock.learn(reading());
    clock.learn(reading(seconds * 1_000));
    clock.learn(reading(seconds * 1_000));

    expect(moves).toEqual([expect.closeTo(seconds, 1)]);
  });

  test('by some milliseconds, as members of a replica set differ: it is not told', () => {
    const { clock, moves } = clockUnderWatch();

    for (const offsetMs of [0, 40, 0, -40, 0]) clock.learn(reading(offsetMs));

    expect(moves).toEqual([]);
  });

  test('is not concluded from an answer that was overtaken by a later one', () => {
    const { clock, moves } = clockUnderWatch();
    const before = reading(0, 100);

    clock.learn(reading(60_000));
    clock.learn(before);
    clock.learn(reading(60_000));

    expect(moves).toEqual([]);
  });
});

describe('what happened', () => {
  test('after it was set back is dated as a time that it has said before, until it has passed that time', async () => {
    const { clock } = clockUnderWatch();
    const datedNow = async (offsetMs: number, agoMs: number) => {
      const now = reading(offsetMs, agoMs);
      clock.learn(now);
      const from = performance.now() - agoMs;
      return (await clock.dated(now, from, from)).observed.isRepeated;
    };

    const seen = [
      await datedNow(0, 900),
      await datedNow(-600, 800), // it had come to that time, and says it again 600 ms later
      await datedNow(-600, 500),
      await datedNow(-600, 100),
    ];

    expect(seen).toEqual([undefined, true, true, undefined]);
  });

  test('while the clock went on is dated by it', async () => {
    const { clock } = clockUnderWatch();
    const before = reading(0, 500);
    clock.learn(before);

    const [from, to] = [performance.now() - 400, performance.now()];
    const { observed, isCertain } = await clock.dated(before, from, to);

    expect(isCertain).toBe(true);
    expect(observed.from.getTime() - epoch).toBeLessThanOrEqual(from);
    expect(observed.from.getTime() - epoch).toBeGreaterThan(from - 5);
    expect(observed.to.getTime() - epoch).toBeGreaterThanOrEqual(to);
    expect(observed.to.getTime() - epoch).toBeLessThan(to + 5);
  });

  test.each([-60_000, 60_000])(
    'while it moved by %i ms is dated by both, and is uncertain',
    async (movedMs) => {
      const { clock } = clockUnderWatch();
      const before = reading(0, 500);
      clock.learn(before);
      clock.learn(reading(movedMs));

      const [from, to] = [performance.now() - 400, performance.now()];
      const { observed, isCertain } = await clock.dated(before, from, to);

      expect(isCertain).toBe(false);
      expect(observed.from.getTime() - epoch).toBeLessThanOrEqual(from + Math.min(0, movedMs));
      expect(observed.to.getTime() - epoch).toBeGreaterThanOrEqual(to + Math.max(0, movedMs));
    },
  );

  test('while MongoDB does not tell its time is dated by the last reading', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { clock } = clockUnderWatch();
    const old = reading(0, 5_000);
    clock.learn(old);

    const dated = clock.dated(old, performance.now() - 4_000, performance.now());
    await vi.advanceTimersByTimeAsync(60_000);
    vi.useRealTimers();

    expect(await dated).toMatchObject({ isCertain: true });
  });
});
