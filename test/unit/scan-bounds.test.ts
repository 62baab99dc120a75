// What bounds the memory of a scan: how much is asked for, read or listed ahead of what is done, with ports that count it.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { volatileScanState } from '../../src/sync/dry-run.js';
import type {
  CallOptions,
  ListAnswer,
  ListedHead,
  Mirror,
  Source,
  StripeId,
  StripeObject,
} from '../../src/sync/ports.js';
import { type ListOptions, listWindows, PageBuffer } from '../../src/sync/scan/list-windows.js';
import { Plan, Window } from '../../src/sync/scan/plan.js';
import { countSuspects, proveRemovals, RemovalsProgress } from '../../src/sync/scan/removals.js';
import type { ScanState } from '../../src/sync/scan/state.js';

const { signal } = new AbortController();
const observed = { from: new Date(0), to: new Date(10) };
const idOf = (number: number): StripeId => `cus_${number}` as StripeId;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Enough turns of the event loop for everything to run that can run. */
async function untilNothingMoves(): Promise<void> {
  for (let turns = 0; turns < 500; turns += 1) await turn();
}

type Page = Parameters<PageBuffer['put']>[1];

const pageOf = (objects: readonly StripeObject[]): Page => ({
  objects,
  undated: [],
  invalid: [],
  disordered: 0,
  cursor: objects.at(-1)?.id,
  isLast: false,
  observed,
  receivedAtMs: performance.now(),
  stripeTime: 2_000_000_000,
});

describe('candidates for removal', () => {
  const total = 25_000;

  /** A state that holds them, in chunks of 700, and counts those that were read; a mirror that suspects all. */
  function holding() {
    const seen = { read: 0, done: 0, ahead: 0, asking: 0, mostAsking: 0 };
    const state: ScanState = {
      ...volatileScanState(),
      async *candidates() {
        for (let start = 0; start < total; start += 700) {
          await Promise.resolve();
          const ids = Array.from({ length: Math.min(700, total - start) }, (_, index) => idOf(start + index));
          seen.read += ids.length;
          seen.ahead = Math.max(seen.ahead, seen.read - seen.done);
          yield { ids, upTo: String(start) };
        }
      },
    };
    const mirror = {
      suspects: (ids: readonly StripeId[]) => Promise.resolve(ids),
      headsOf: () => Promise.resolve(new Map()),
      write: (writes: readonly unknown[]) =>
        Promise.resolve(writes.map(() => ({ kind: 'written' }) as const)),
    } as unknown as Mirror; // nothing else is asked of it
    const source = {
      retrieve: async (id: StripeId) => {
        seen.asking += 1;
        seen.mostAsking = Math.max(seen.mostAsking, seen.asking);
        await turn();
        seen.asking -= 1;
        return { kind: 'deleted', id, observed, receivedAtMs: performance.now() } as const;
      },
    } as unknown as Source; // nothing else is asked of it
    const progress = new RemovalsProgress({ after: null, proven: [] });
    const wasListed = (): boolean => false;
    return { seen, options: { source, mirror, state, scanId: 'scan', progress, wasListed, signal } };
  }

  test('are asked for some at a time, however many there are, and no more is remembered of them', async () => {
    const { seen, options } = holding();
    let remembered = 0;

    await proveRemovals({
      ...options,
      retrievesAtOnce: 8,
      onResult: ({ outcome }) => {
        if (outcome === 'deleted') seen.done += 1;
        remembered = Math.max(remembered, options.progress.save().proven.length);
      },
    });

    expect(seen.done).toBe(total);
    expect(seen.mostAsking).toBe(8);
    expect(seen.ahead).toBeLessThanOrEqual(700);
    expect(remembered).toBeLessThanOrEqual(700);
  });

  test('are counted without a call, from where they are proven on', async () => {
    const { seen, options } = holding();

    expect(await countSuspects(options)).toBe(total);
    options.progress.proved(idOf(5));
    expect(await countSuspects(options)).toBe(total - 1);
    expect(seen.mostAsking).toBe(0);
  });
});

test('customers that an interval misses are handed on some at a time before more are read, however many it has', async () => {
  const total = 25_000;
  const seen = { read: 0, told: 0, ahead: 0 };
  const mirror = {
    async *heads(): AsyncGenerator<readonly ListedHead[]> {
      for (; seen.read < total;) {
        const ids = Array.from({ length: 100 }, (_, index) => idOf(seen.read + index + 1));
        seen.read += ids.length;
        seen.ahead = Math.max(seen.ahead, seen.read - seen.told);
        await Promise.resolve();
        yield ids.map((id) => ({ id, created: 500, hash: 'h', deletedBy: undefined }));
      }
    },
  } as unknown as Mirror; // nothing else is asked of it
  const source = {
    listsAtOnce: () => 1,
    list: () =>
      Promise.resolve({
        kind: 'page',
        objects: [],
        invalid: [],
        hasMore: false,
        stripeTime: 2e9,
        observed,
        receivedAtMs: performance.now(),
      } as const),
  } as unknown as Source; // nothing else is asked of it
  const results: unknown[] = [];

  await list(new Plan([new Window({ gte: 0, lt: 1_000 })]), {
    source,
    mirror,
    signal,
    range: () => ({ lt: 1_000 }),
    missedByRun: () => ({
      add: async (ids) => {
        await turn();
        seen.told += ids.length;
      },
      settle: () => undefined,
    }),
    onResults: (settled) => void results.push(...settled),
  });

  expect(results).toEqual([]);
  expect(seen.told).toBe(total);
  expect(seen.ahead).toBeLessThanOrEqual(1_000);
});

describe('the buffer between fetchers and writers', () => {
  const rows = (count: number): StripeObject[] =>
    Array.from({ length: count }, (_, index) => ({ id: idOf(index), created: 1_000 - index }));

  test('has no room from 4,000 rows on, those that writers are at included, until a run is released', async () => {
    const buffer = new PageBuffer();
    const window = new Window({ gte: 0, lt: undefined });
    for (let page = 0; page < 40; page += 1) {
      await buffer.room(signal);
      buffer.put(window, pageOf(rows(100)));
    }
    let hasRoom = false;
    const waiting = buffer.room(signal).then(() => (hasRoom = true));

    const run = await buffer.take(signal);
    await untilNothingMoves();
    expect(hasRoom).toBe(false);
    buffer.release(run!);

    await waiting;
    expect(run!.pages).toHaveLength(5);
  });

  test('keeps fetchers from listing on while writers stand still', async () => {
    const seen = { rows: 0 };
    const windows = 6;
    const source = {
      listsAtOnce: () => windows,
      list: async ({ lt = 1e9, limit }: { lt?: number; limit: number }): Promise<ListAnswer> => {
        await turn();
        seen.rows += limit;
        const objects = Array.from({ length: limit }, () => {
          next += 1;
          return { id: idOf(next), created: lt - 1 - Math.floor(next / 1_000) };
        });
        const receivedAtMs = performance.now();
        return { kind: 'page', objects, invalid: [], hasMore: true, stripeTime: 2e9, observed, receivedAtMs };
      },
    } as unknown as Source; // nothing else is asked of it
    let next = 0;
    const stop = new AbortController();
    const mirror = {
      async *heads(_range: unknown, aborted: AbortSignal): AsyncGenerator<readonly ListedHead[]> {
        await untilAborted(aborted);
        yield* [];
      },
    } as unknown as Mirror; // nothing else is asked of it
    const bounds = Array.from({ length: windows }, (_, index) => index * 1_000_000);
    const plan = new Plan(bounds.map((gte, index) => new Window({ gte, lt: bounds[index + 1] })));

    const listing = list(plan, { source, mirror, signal: stop.signal });
    await untilNothingMoves();

    expect(seen.rows).toBeGreaterThanOrEqual(4_000);
    expect(seen.rows).toBeLessThanOrEqual(4_000 + windows * 100);
    stop.abort(new Error('Enough'));
    await listing;
  });

  test('keeps no page that is settled while the next one is waited for', async () => {
    const pages: WeakRef<object>[] = [];
    const settled: unknown[] = [];
    const stop = new AbortController();
    const source = {
      listsAtOnce: () => 1,
      list: async (_query: unknown, { signal: aborted }: CallOptions): Promise<ListAnswer> => {
        if (pages.length === 2) return untilAborted(aborted);
        const objects = Array.from({ length: 100 }, (_, index) => ({
          id: idOf(pages.length * 100 + index),
          created: 1_000 - pages.length * 100 - index,
        }));
        pages.push(new WeakRef(objects[50]!));
        const receivedAtMs = performance.now();
        return { kind: 'page', objects, invalid: [], hasMore: true, stripeTime: 2e9, observed, receivedAtMs };
      },
    } as unknown as Source; // nothing else is asked of it
    const mirror = {
      async *heads(): AsyncGenerator<readonly ListedHead[]> {},
      write: async (writes: readonly unknown[]) => writes.map(() => ({ kind: 'written' })),
    } as unknown as Mirror; // nothing else is asked of it

    const plan = new Plan([new Window({ gte: 0, lt: 2_000 })]);

    const listing = list(plan, {
      source,
      mirror,
      signal: stop.signal,
      onResults: (results) => void settled.push(...results),
    });
    await untilNothingMoves();
    collectGarbage();

    expect(settled).toHaveLength(200);
    expect(pages.map((page) => page.deref())).toEqual([undefined, undefined]);
    stop.abort(new Error('Enough'));
    await listing;
  });
});

/** Lists the windows; resolves however that ends. */
async function list(
  plan: Plan,
  options: Pick<ListOptions, 'source' | 'mirror' | 'signal'> & Partial<ListOptions>,
): Promise<void> {
  await listWindows(plan, {
    settleWithinMs: 0,
    range: () => ({}),
    onPage: () => undefined,
    missedByRun: () => ({ add: () => Promise.resolve(), settle: () => undefined }),
    onResults: () => undefined,
    onSettled: () => Promise.resolve(),
    ...options,
  }).catch(() => undefined);
}

const untilAborted = (aborted: AbortSignal): Promise<never> =>
  new Promise((_, reject) => aborted.addEventListener('abort', () => reject(new Error('ended'))));

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
