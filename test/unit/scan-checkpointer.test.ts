// When a checkpoint is written, when the run is told that it has come further, and what a checkpoint holds.
import { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { volatileScanState } from '../../src/sync/dry-run.js';
import type { StripeId } from '../../src/sync/ports.js';
import { Plan, Window } from '../../src/sync/scan/plan.js';
import { Checkpointer, reached, ScanProgress } from '../../src/sync/scan/progress.js';
import { newCheckpoint, usableCheckpoint } from '../../src/sync/scan/state.js';
import { until } from '../support/until.js';

const hour = 3_600_000;
const identity = { requestId: 'r', apiVersion: 'v', livemode: false, nowMs: 1_000 * hour };

/** A scan of one window, and what saves it. */
function scanned() {
  const progress = new ScanProgress(newCheckpoint('scan', identity), volatileScanState());
  const window = new Window({ gte: 0, lt: undefined });
  progress.plan = new Plan([window]);
  const seen = { saves: 0, notices: 0, nowMs: 5_000 };
  const saver = new Checkpointer({
    snapshot: () => progress.snapshot(),
    save: () => {
      seen.saves += 1;
      return Promise.resolve();
    },
    reached,
    onMoved: () => (seen.notices += 1),
    now: () => seen.nowMs,
  });
  const settleTo = (id: string): void => {
    window.settledCursor = id as StripeId;
    window.settledFrom = 100;
  };
  return { progress, window, seen, saver, settleTo };
}

describe('a checkpoint is written', () => {
  test('at most once a second, however much is settled', async () => {
    const { seen, saver, settleTo } = scanned();

    for (let run = 0; run < 5_000; run += 1) {
      settleTo(`cus_${run}`);
      await saver.saveSometimes();
      seen.nowMs += 1; // five seconds in all
    }

    expect(seen.saves).toBe(5);
  });

  test('once at a time, however long it takes', async () => {
    const { progress, seen } = scanned();
    let finish = (): void => undefined;
    let saves = 0;
    const untilSaved = (times: number) => until(() => saves === times, { what: 'a save', intervalMs: 1 });
    const saver = new Checkpointer({
      snapshot: () => progress.snapshot(),
      save: () => {
        saves += 1;
        return new Promise((resolve) => (finish = resolve));
      },
      reached,
      onMoved: () => undefined,
      now: () => seen.nowMs,
    });

    const first = saver.saveSometimes();
    await saver.saveSometimes(); // the other writer, at the same moment
    seen.nowMs += 10_000;
    await saver.saveSometimes();
    const last = saver.save();

    expect(saves).toBe(1);
    finish();
    await first;
    await untilSaved(2);
    finish();
    await last;
  });
});

describe('a run is told that it has come further', () => {
  test('when a window, a phase or a removal was settled since it was last told, and not before', async () => {
    const { progress, window, seen, saver, settleTo } = scanned();
    const noticesAfter = async (settle: () => void): Promise<number> => {
      const before = seen.notices;
      settle();
      await saver.save();
      await saver.save();
      return seen.notices - before;
    };

    expect(await noticesAfter(() => undefined)).toBe(0);
    expect(await noticesAfter(() => progress.listed(answer(10)))).toBe(0); // listed is not settled
    expect(await noticesAfter(() => settleTo('cus_1'))).toBe(1);
    expect(await noticesAfter(() => progress.plan?.windows.push(new Window({ gte: 0, lt: 50 })))).toBe(0);
    expect(await noticesAfter(() => (window.isDone = true))).toBe(1);
    expect(await noticesAfter(() => (progress.phase = 'removals'))).toBe(1);
    expect(await noticesAfter(() => progress.removals.proved('cus_9' as StripeId))).toBe(1);
    expect(await noticesAfter(() => progress.removals.moveTo('chunk 1'))).toBe(1);
  });

  test('not for what an earlier run had reached', async () => {
    const earlier = scanned();
    earlier.settleTo('cus_1');
    const progress = new ScanProgress(earlier.progress.snapshot(), volatileScanState());
    let notices = 0;
    const saver = new Checkpointer({
      snapshot: () => progress.snapshot(),
      save: () => Promise.resolve(),
      reached,
      onMoved: () => (notices += 1),
    });

    await saver.save();

    expect(notices).toBe(0);
  });

  test('not when the checkpoint could not be written', async () => {
    const { progress, settleTo } = scanned();
    let notices = 0;
    const saver = new Checkpointer({
      snapshot: () => progress.snapshot(),
      save: () => Promise.reject(new Error('away')),
      reached,
      onMoved: () => (notices += 1),
    });
    settleTo('cus_1');

    await expect(saver.save()).rejects.toThrow('away');

    expect(notices).toBe(0);
  });
});

describe('a stored checkpoint', () => {
  const stored = () => {
    const { progress, settleTo } = scanned();
    settleTo('cus_1');
    return progress.snapshot();
  };

  test('is gone on with by the same scan within 24 hours', () => {
    const checkpoint = stored();

    expect(usableCheckpoint(checkpoint, identity)).toEqual(checkpoint);
    expect(
      usableCheckpoint(checkpoint, { ...identity, nowMs: identity.nowMs + 24 * hour - 1 }),
    ).toBeDefined();
    // The clock of the replica that goes on may be behind.
    expect(usableCheckpoint(checkpoint, { ...identity, nowMs: identity.nowMs - hour })).toBeDefined();
  });

  test.each([
    ['24 hours later', { nowMs: identity.nowMs + 24 * hour }],
    ['with another API version', { apiVersion: 'w' }],
    ['in the other mode', { livemode: true }],
    ['by another scan', { requestId: 'another' }],
  ])('is discarded %s', (_, change) => {
    expect(usableCheckpoint(stored(), { ...identity, ...change })).toBeUndefined();
  });

  test('stays far below the 16 MiB of a document in the middle of a second that 20,000 share, and below it up to 450,000', () => {
    const { progress, window, settleTo } = scanned();
    settleTo('cus_1');
    const sizeWith = (customers: number): number => {
      window.openIds = new Set(
        Array.from({ length: customers }, (_, index) => `cus_${String(index).padStart(14, '0')}` as StripeId),
      );
      return mongo.BSON.calculateObjectSize(progress.snapshot());
    };

    expect(sizeWith(20_000)).toBeLessThan(700_000);
    expect(sizeWith(450_000)).toBeLessThan(16 * 2 ** 20);
  });
});

const answer = (stripeTime: number) => ({
  stripeTime,
  receivedAtMs: performance.now(),
  observed: { from: new Date(0), to: new Date(0) },
});
