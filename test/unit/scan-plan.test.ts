import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StripeId } from '../../src/sync/ports.js';
import { firstWindows, Plan, Window } from '../../src/sync/scan/plan.js';

const now = Date.UTC(2026, 0, 1) / 1_000;

/** Bounds from oldest to newest. */
const bounds = (plan: Plan): (readonly [number, number | undefined])[] =>
  [...plan.windows].sort((a, b) => a.gte - b.gte).map(({ gte, lt }) => [gte, lt] as const);

const expectTiling = (plan: Plan): void => {
  const tiles = bounds(plan);
  expect(tiles[0]?.[0]).toBe(0);
  expect(tiles.at(-1)?.[1]).toBeUndefined();
  for (const [index, [, lt]] of tiles.slice(0, -1).entries()) expect(lt).toBe(tiles[index + 1]?.[0]);
  for (const [gte, lt] of tiles) if (lt !== undefined) expect(lt).toBeGreaterThan(gte);
};

/** As if a page of 100 rows had been fetched. */
const afterPage = (window: Window, lastCreated: number, seconds: number): Window => {
  window.lastCreated = lastCreated;
  window.rows += 100;
  window.lastPage = { rows: 100, seconds };
  return window;
};

describe('the windows of a scan', () => {
  it('tile all time, whatever is known of the account', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 64 }),
        fc.array(fc.integer({ min: 1, max: now })),
        (count, known) => {
          const plan = new Plan(firstWindows(count, known, now));

          expectTiling(plan);
          expect(plan.windows.length).toBeLessThanOrEqual(count);
        },
      ),
    );
  });

  it('are cut at the quantiles of the spread that is known', () => {
    const known = Array.from({ length: 1_000 }, (_, index) => 1_000_000 + index);

    const plan = new Plan(firstWindows(4, known, now));

    expect(bounds(plan)).toEqual([
      [0, 1_000_250],
      [1_000_250, 1_000_500],
      [1_000_500, 1_000_750],
      [1_000_750, undefined],
    ]);
  });

  it('still tile all time after any history of pages and thefts, and no second is ever split', () => {
    const step = fc.record({ pick: fc.nat(), span: fc.integer({ min: 0, max: 100_000 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 8 }), (steps, count) => {
        const plan = new Plan(firstWindows(count, [], now));
        for (const { pick, span } of steps) {
          plan.take();
          const open = plan.windows.filter(({ isFetched }) => !isFetched);
          const window = open[pick % Math.max(1, open.length)];
          if (!window) break;
          const from = window.lastCreated ?? window.lt ?? now;
          const lastCreated = Math.max(window.gte, from - span);
          afterPage(window, lastCreated, span);
          expect(window.lastCreated).toBeGreaterThanOrEqual(window.gte);
        }

        expectTiling(plan);
      }),
    );
  });

  it('are stolen from where most rows are left, in the middle of what is left', () => {
    const plan = new Plan([new Window({ gte: 0, lt: 1_000 }), new Window({ gte: 1_000, lt: undefined })]);
    const [small, large] = [plan.take(), plan.take()];
    if (!small || !large) throw new Error('both windows are free');
    afterPage(small, 990, 10);
    afterPage(large, 101_000, 10);

    const stolen = plan.take();

    expect([stolen?.gte, stolen?.lt]).toEqual([1_000, 51_000]);
    expect(large.gte).toBe(51_000);
    expectTiling(plan);
  });

  it('are cut near their dense end where an import was found', () => {
    const plan = new Plan([
      new Window({ gte: 0, lt: 10_000_000 }),
      new Window({ gte: 10_000_000, lt: undefined }),
    ]);
    const [sparse, other] = [plan.take(), plan.take()];
    if (!sparse || !other) throw new Error('both windows are free');
    other.isFetched = true;
    afterPage(sparse, 9_000_000, 1);

    const stolen = plan.take();

    expect(stolen?.lt).toBe(9_000_000 - 3_000); // the geometric mean of one second and nine million
  });

  it('are left alone when little is left, or all of it in one second', () => {
    const plan = new Plan([new Window({ gte: 0, lt: undefined })]);
    const window = plan.take();
    if (!window) throw new Error('the window is free');
    afterPage(window, 19, 10);
    expect(plan.take()).toBeUndefined();

    window.gte = 20;
    window.rows = 100_000;
    expect(plan.take()).toBeUndefined();
  });

  it('prove completeness only when all are done and none is missing', () => {
    const plan = new Plan(firstWindows(3, [], now));
    expect(plan.isComplete).toBe(false);

    for (const window of plan.windows) window.isDone = true;
    expect(plan.isComplete).toBe(true);

    expect(new Plan(plan.windows.slice(1)).isComplete).toBe(false);
    expect(new Plan(plan.windows.slice(0, -1)).isComplete).toBe(false);
    expect(
      new Plan([plan.windows[0], plan.windows[2]].filter((window) => window !== undefined)).isComplete,
    ).toBe(false);
  });

  it('survive a checkpoint', () => {
    const window = new Window({ gte: 10, lt: 100 });
    window.settledFrom = 51;
    window.settledCursor = 'cus_9' as StripeId;
    window.openIds = new Set(['cus_8', 'cus_9'] as StripeId[]);

    const restored = Window.restore(window.save());

    expect(restored.save()).toEqual(window.save());
    expect([restored.cursor, restored.lastCreated, [...restored.tail]]).toEqual([
      'cus_9',
      50,
      ['cus_8', 'cus_9'],
    ]);
  });
});
