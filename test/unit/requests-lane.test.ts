// A lane claims by what woke it while nothing else waits, otherwise the oldest; it never works on more than it may, and forgets nothing.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Lane } from '../../src/requests/worker/lane.js';

/** A queue of names, of which some are told by a wake-up and some are not, and jobs that the test ends. */
class Bench {
  readonly waiting: string[] = [];
  readonly claims: string[] = [];
  readonly working = new Map<string, () => void>();
  readonly errors: unknown[] = [];
  mostAtOnce = 0;
  fault: Error | undefined;
  isBusy = false;
  readonly lane: Lane<string>;

  constructor(capacity: number) {
    this.lane = new Lane<string>({
      capacity,
      find: async (limit) => {
        // As long as a search takes.
        await Promise.resolve();
        this.claims.push('*');
        if (this.fault) throw this.fault;
        return this.waiting.slice(0, limit);
      },
      claim: async (name) => {
        await Promise.resolve();
        this.claims.push(name);
        if (this.fault) throw this.fault;
        if (this.isBusy) return 'rest';
        const index = this.waiting.indexOf(name);
        if (index < 0) return 'taken';
        this.waiting.splice(index, 1);
        return () => this.work(name);
      },
      onError: (error) => void this.errors.push(error),
      random: () => 0,
    });
  }

  work(name: string): Promise<void> {
    const work = new Promise<void>((resolve) =>
      this.working.set(name, () => {
        this.working.delete(name);
        resolve();
      }),
    );
    this.mostAtOnce = Math.max(this.mostAtOnce, this.working.size);
    return work;
  }

  insert(name: string, isTold = true): void {
    this.waiting.push(name);
    if (isTold) this.lane.wake(name);
  }
}

/** Lets everything run that can. */
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('a lane', () => {
  test('claims by the id that woke it, and looks no further', async () => {
    const bench = new Bench(2);

    bench.insert('a');
    await settled();

    expect(bench.claims).toEqual(['a']);
    expect([...bench.working.keys()]).toEqual(['a']);
  });

  test('that is full takes the oldest as soon as there is room', async () => {
    const bench = new Bench(1);
    bench.insert('a');
    await settled();
    bench.insert('b');
    bench.insert('c');
    await settled();
    expect(bench.claims).toEqual(['a']);

    bench.working.get('a')?.();
    await settled();
    bench.working.get('b')?.();
    await settled();
    bench.working.get('c')?.();
    await settled();

    expect(bench.claims).toEqual(['a', '*', 'b', 'c']);
    expect(bench.waiting).toEqual([]);
  });

  test('does not miss what comes while it finds nothing', async () => {
    const bench = new Bench(2);
    bench.lane.look();
    bench.insert('a', false);
    bench.lane.look();
    await settled();

    expect([...bench.working.keys()]).toEqual(['a']);
  });

  test('that cannot claim rests until it is woken again', async () => {
    const bench = new Bench(1);
    bench.fault = new Error('away');
    bench.insert('a');
    await settled();
    expect([bench.claims.length, bench.errors]).toEqual([1, [bench.fault]]);

    bench.fault = undefined;
    bench.lane.look();
    await settled();

    expect([...bench.working.keys()]).toEqual(['a']);
  });

  test('that may not claim rests, too, and does not ask again and again', async () => {
    const bench = new Bench(1);
    bench.isBusy = true;
    bench.insert('a', false);
    bench.lane.look();
    await settled();
    await settled();
    expect(bench.claims).toEqual(['*', 'a']);

    bench.isBusy = false;
    bench.lane.look();
    await settled();

    expect([...bench.working.keys()]).toEqual(['a']);
  });

  test('claims by several ids at once', async () => {
    const bench = new Bench(3);
    for (const name of ['a', 'b', 'c', 'd']) bench.insert(name);
    await settled();

    expect([...bench.working.keys()]).toEqual(['a', 'b', 'c']);
    expect(bench.mostAtOnce).toBe(3);
  });

  test('leaves alone what others have taken, and finds the rest', async () => {
    const bench = new Bench(2);
    const gone = Array.from({ length: 30 }, (_, index) => `gone${index}`);
    bench.waiting.push(...gone, 'a', 'b');
    const find = bench.waiting.slice();
    bench.lane.look();
    bench.waiting.splice(0, 30);
    await settled();
    await settled();

    expect(find).toHaveLength(32);
    expect([...bench.working.keys()].sort()).toEqual(['a', 'b']);
  });

  test('that is closed claims nothing, and is idle when its work has ended', async () => {
    const bench = new Bench(2);
    bench.insert('a');
    await settled();
    let isIdle = false;

    await bench.lane.close();
    bench.insert('b');
    const idle = bench.lane.idle().then(() => (isIdle = true));
    await settled();
    expect([bench.claims, isIdle, bench.lane.running]).toEqual([['a'], false, 1]);
    bench.working.get('a')?.();
    await idle;

    expect(bench.lane.running).toBe(0);
  });
});

test('whatever comes in whatever order, everything told of is worked on, and never more than may be at once', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('insert' as const), isTold: fc.boolean() }),
    fc.record({ kind: fc.constant('end' as const), which: fc.nat() }),
    fc.record({ kind: fc.constant('settle' as const) }),
    fc.record({ kind: fc.constant('look' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 60 }),
      async (capacity, steps) => {
        const bench = new Bench(capacity);
        for (const [index, each] of steps.entries()) {
          if (each.kind === 'insert') bench.insert(`r${index}`, each.isTold);
          if (each.kind === 'end')
            [...bench.working.values()][each.which % Math.max(1, bench.working.size)]?.();
          if (each.kind === 'settle') await settled();
          if (each.kind === 'look') bench.lane.look();
        }
        const untold = new Set(
          steps.flatMap((each, index) => (each.kind === 'insert' && !each.isTold ? [`r${index}`] : [])),
        );
        for (let round = 0; round < steps.length + 2; round += 1) {
          await settled();
          for (const end of [...bench.working.values()]) end();
        }
        await settled();

        expect(bench.waiting.filter((name) => !untold.has(name))).toEqual([]);
        expect(bench.mostAtOnce).toBeLessThanOrEqual(capacity);
        expect(bench.lane.running).toBe(0);
      },
    ),
    { numRuns: 200 },
  );
});
