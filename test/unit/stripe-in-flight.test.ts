// Places in flight: how many calls of this process are under way at once, and who has them.
import { describe, expect, test } from 'vitest';
import { InFlight } from '../../src/rate/in-flight.js';
import type { CallPriority } from '../../src/sync/ports.js';
import { limiter, openTasks, slotsDue, turn, unlimited } from '../support/rate-limiter.js';
import { freeBudget } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

describe('places in flight', () => {
  test('are never more than the setting', async () => {
    const made = limiter();
    let atWork = 0;
    let most = 0;
    const task = async () => {
      most = Math.max(most, (atWork += 1));
      await new Promise(setImmediate);
      atWork -= 1;
    };

    await Promise.all(
      Array.from({ length: 40 }, (_, index) => made.schedule(turn(index % 3 ? 'scan' : 'small'), task)),
    );

    expect(most).toBe(4);
  });

  test('are few until the first call of the process has ended', async () => {
    const made = limiter();
    const tasks = openTasks();

    const all = Array.from({ length: 6 }, () => made.schedule(turn('small'), tasks.task));
    await until(() => tasks.running.length > 0, { what: 'the first call', intervalMs: 1 });
    await new Promise(setImmediate);

    expect(tasks.running).toHaveLength(1);
    // It does not hold the others up for long, whatever becomes of it.
    await until(() => tasks.running.length === 4, { what: 'the others', timeoutMs: 3_000 });
    tasks.endAll();
    await Promise.all(all);
  });

  test.each([
    { maxInFlight: 2, scansAtOnce: 1 },
    { maxInFlight: 4, scansAtOnce: 3 },
    { maxInFlight: 8, scansAtOnce: 6 },
    { maxInFlight: 20, scansAtOnce: 17 },
  ])(
    'are left by scans for small calls, a quarter of them and at most three: of $maxInFlight scans take $scansAtOnce',
    async ({ maxInFlight, scansAtOnce }) => {
      const made = limiter({ limits: { ...unlimited, maxInFlight } });
      const [scans, smalls] = [openTasks(), openTasks()];
      const all = Array.from({ length: 30 }, () => made.schedule(turn('scan'), scans.task));
      await until(() => scans.running.length === scansAtOnce, { what: 'the scans to start' });

      all.push(...Array.from({ length: 30 }, () => made.schedule(turn('small'), smalls.task)));
      await until(() => smalls.running.length === maxInFlight - scansAtOnce, { what: 'the small calls' });

      expect(scans.running).toHaveLength(scansAtOnce);
      smalls.endAll();
      scans.endAll();
      await Promise.all(all);
    },
  );

  describe('where small calls come at once, are left for one more than came of late', () => {
    /** How many more calls of the priority get a place. */
    const fill = (places: InFlight, priority: CallPriority): number => {
      let taken = 0;
      while (places.acquire(priority)) taken += 1;
      return taken;
    };

    async function opened(most: number, now = () => 0): Promise<InFlight> {
      const places = new InFlight(most, now);
      await places.run(async () => {}); // the first call goes alone
      return places;
    }

    test.each([
      [8, 0, 6],
      [8, 1, 6],
      [8, 2, 5],
      [8, 3, 4],
      [4, 0, 3],
      [4, 1, 2],
      [20, 2, 17],
      [20, 6, 13],
    ])('of %i places beside %i small calls scans take %i', async (most, small, scans) => {
      const places = await opened(most);
      for (let count = 0; count < small; count += 1) places.acquire('small');
      for (let count = 0; count < small; count += 1) places.release('small');

      expect(fill(places, 'scan')).toBe(scans);
    });

    test.each([1, 2, 3, 4, 8, 20])('of %i places scans keep half, and never none', async (most) => {
      const places = await opened(most);
      const small = fill(places, 'small');
      for (let count = 0; count < small; count += 1) places.release('small');

      expect(small).toBe(most);
      expect(fill(places, 'scan')).toBe(Math.max(1, Math.ceil(most / 2)));
    });

    test('and given back to scans where none came for two seconds', async () => {
      let nowMs = 0;
      const places = await opened(8, () => nowMs);
      for (let count = 0; count < 4; count += 1) places.acquire('small');
      for (let count = 0; count < 4; count += 1) places.release('small');
      nowMs = 999;
      const soon = fill(places, 'scan');
      nowMs = 2_000;

      expect([soon, fill(places, 'scan')]).toEqual([4, 2]);
    });
  });

  test('go to small calls first, in the order in which they came', async () => {
    const made = limiter({ limits: { ...unlimited, maxInFlight: 1 } });
    const first = openTasks();
    const order: string[] = [];
    const waiting = [made.schedule(turn('scan'), first.task)];
    await until(() => first.running.length === 1, { what: 'the first call' });
    for (const name of ['scan 1', 'small 1', 'scan 2', 'small 2']) {
      const priority = name.startsWith('scan') ? 'scan' : 'small';
      waiting.push(made.schedule(turn(priority), async () => void order.push(name)));
    }

    first.endAll();
    await Promise.all(waiting);

    expect(order).toEqual(['small 1', 'small 2', 'scan 1', 'scan 2']);
  });

  test('are given back by calls that fail or are aborted', async () => {
    let aheadMs = 60_000;
    const made = limiter({
      limits: { ...unlimited, callsPerSecond: 50, maxInFlight: 2 },
      budget: { ...freeBudget, take: async (wants) => slotsDue(wants, aheadMs) },
    });
    const aborting = new AbortController();
    const aborted = [1, 2].map(() => made.schedule(turn('small', aborting), async () => {}));
    await new Promise(setImmediate);
    aborting.abort(new Error('enough'));
    await Promise.allSettled(aborted);
    aheadMs = 20;
    await made.schedule(turn('small'), () => Promise.reject(new Error('failed'))).catch(() => {});

    await Promise.all([1, 2].map(() => made.schedule(turn('small'), async () => {})));

    for (const result of await Promise.allSettled(aborted))
      expect(result).toMatchObject({ status: 'rejected' });
  });
});
