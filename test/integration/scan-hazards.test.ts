// What goes wrong in full scans of this kind elsewhere, each with the promise that it does not here.
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { CustomerObject, FaultKind } from 'stripe-simulator';
import { retrieveAndApply } from '../../src/sync/apply.js';
import { syncByIds } from '../../src/sync/by-ids.js';
import type { StripeId, StripeObject } from '../../src/sync/ports.js';
import { freshDatabase, type FreshDatabase } from '../support/database.js';
import { openScanBench, type ScanBench } from '../support/scan.js';
import { until } from '../support/until.js';

const list = 'GET /v1/customers';
const retrieve = 'GET /v1/customers/{id}';
const signal = new AbortController().signal;
const quick = { attemptTimeoutMs: 400, callDeadlineMs: 60_000 };

/** Does something before every call to list. */
const beforeLists = (bench: ScanBench, act: (call: number) => void): ScanBench['source'] => {
  let calls = 0;
  return {
    ...bench.source,
    list: (query, options) => {
      act((calls += 1));
      return bench.source.list(query, options);
    },
  };
};

const lastCompleteScan = ({ db }: ScanBench) =>
  db.collection<{ _id: string }>('sync_state').findOne({ _id: 'scan-completed:customer' });

const marked = async ({ db }: ScanBench): Promise<number> =>
  db.collection('stripe_customers').countDocuments({ '_sync.deletedAt': { $exists: true } });

describe('a full scan', () => {
  test('misses no customer that is created while its windows are listed, wherever they are by then', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 900, distribution: 'growth' } });
    const anHourAgo = bench.simulator.clock.seconds() - 3_600;
    const source: ScanBench['source'] = {
      ...bench.source,
      list: (query, options) => {
        const isCatchUp = (query.gte ?? 0) > anHourAgo;
        for (let each = 0; each < 15 && !isCatchUp; each += 1) bench.simulator.create();
        return bench.source.list(query, options);
      },
    };

    await bench.scan({ source });

    expect(bench.simulator.listedCount).toBeGreaterThan(1_000);
    expect(await bench.differences()).toEqual([]);
  });

  test('misses nobody who is created while the first page of the newest is on its way for minutes, and others come first', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 900, distribution: 'growth' } });
    const fiveMinutes = 300;
    let others = 0;
    let created: string | undefined;
    const source: ScanBench['source'] = {
      ...bench.source,
      list: async (query, options) => {
        const isNewest = query.lt === undefined && query.startingAfter === undefined;
        if (!isNewest) await until(() => created, { what: 'the newest to be computed' });
        const answer = await bench.source.list(query, options);
        if (answer.kind === 'cursor_gone') return answer;
        if (isNewest && created === undefined) {
          // Stripe has computed it; minutes pass until it is here.
          created = bench.simulator.create({ created: bench.simulator.clock.seconds() + 100 }).id;
          bench.simulator.clock.setOffset(fiveMinutes * 1_000);
          await until(() => others > 0, { what: 'another page to come first' });
        } else if (created !== undefined) {
          others += 1;
        }
        const lateMs = created === undefined ? 0 : fiveMinutes * 1_000;
        return { ...answer, receivedAtMs: answer.receivedAtMs + lateMs };
      },
    };

    await bench.scan({ source, listsAtOnce: 4 });

    expect(await bench.stored(String(created))).toMatchObject({ id: created });
    expect(await bench.differences()).toEqual([]);
  });

  test('lists the minute before its start once more, as the list may lag behind', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 300 } });
    const seconds = bench.simulator.clock.seconds();
    const late = bench.simulator.create({ created: seconds - 30 });
    let lists = 0;
    const source: ScanBench['source'] = {
      ...bench.source,
      list: async (query, options) => {
        const answer = await bench.source.list(query, options);
        const isLagging = (lists += 1) <= 4;
        if (answer.kind === 'cursor_gone' || !isLagging) return answer;
        return { ...answer, objects: answer.objects.filter(({ id }) => id !== late.id) };
      },
    };

    await bench.scan({ source });

    expect(await bench.stored(late.id)).toMatchObject({ id: late.id });
    expect(await marked(bench)).toBe(0);
  });

  test.each<[string, FaultKind]>([
    ['reset', { kind: 'reset' }],
    ['never answered', { kind: 'stall' }],
    ['broken off', { kind: 'truncate', how: 'contentLength' }],
    ['ended in the middle', { kind: 'truncate', how: 'chunked' }],
    ["a proxy's HTML", { kind: 'html' }],
    ["a proxy's HTML that says 200", { kind: 'html', status: 200 }],
    ['null', { kind: 'null' }],
    ['without an entry, though more are said to follow', { kind: 'emptyPage' }],
    ['a failure of Stripe', { kind: 'status', status: 500 }],
    ['of the other mode', { kind: 'wrongLivemode' }],
  ])('repeats a page that is %s, and skips none', async (what, fault) => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 900 } }, quick);
    for (const skip of [0, 3, 6]) bench.simulator.fault({ ...fault, endpoint: list, skip });

    const scanning = bench.scan();

    if (what === 'of the other mode') await expect(scanning).rejects.toMatchObject({ code: 'wrong_mode' });
    else expect((await scanning).result).toMatchObject({ created: 900, failed: 0 });
    bench.simulator.clearFaults();
    await bench.scan();
    expect(await bench.differences()).toEqual([]);
    expect(await marked(bench)).toBe(0);
  });

  test('comes through masses of creations and deletions while it runs, and the next one settles them', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 1_500, distribution: 'spike' } });
    await bench.scan({ requestId: 'before' });
    const staying = new Set(bench.simulator.listIds());
    const source = beforeLists(bench, () => {
      for (let each = 0; each < 20; each += 1) bench.simulator.create();
      for (const id of bench.simulator.deleteRandom(20)) staying.delete(id);
    });

    await bench.scan({ requestId: 'during', source, removals: { maxRatio: 1, maxCount: 0 } });

    const mirrored = new Set(await bench.mirroredIds());
    expect([...staying].filter((id) => !mirrored.has(id))).toEqual([]);
    await bench.scan({ requestId: 'after', removals: { maxRatio: 1, maxCount: 10_000 } });
    expect(await bench.differences()).toEqual([]);
  });

  test('stores a customer of unexpected types as it came, and counts it: nothing is cast, nothing swallowed', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 120 } });
    const created = bench.simulator.clock.seconds() - 5;
    const odd = { object: 'customer', livemode: false, test_clock: null };
    const given = [
      { ...odd, id: 'cus_odd_1', created, email: 7, metadata: [], name: { first: 'J' }, balance: 'none' },
      { ...odd, id: 'cus_odd_2', created, email: null, metadata: { a: { b: [null] } }, shipping: 'x' },
      { ...odd, id: 'cus_odd_3', created, address: [], delinquent: 'no', phone: true, __v: 'mine' },
    ];
    for (const each of given) bench.simulator.createRaw(each);

    const { result } = await bench.scan();

    expect(result).toMatchObject({ created: 123, failed: 0, items: [] });
    for (const each of given) {
      const { _sync, ...stored } = (await bench.stored(each.id)) ?? {};
      expect(stored).toEqual({ _id: each.id, ...each });
    }
    expect((await bench.scan({ requestId: 'again' })).result).toMatchObject({ unchanged: 123 });
  });
});

describe('nobody is marked as deleted', () => {
  /** The mirror of one account, and what a scan with the key of another one makes of it. */
  async function withOtherKey(count: number, database: FreshDatabase): Promise<ScanBench> {
    const own = await openScanBench(database, { seed: { count, seed: 1 } });
    await own.scan({ requestId: 'own' });
    return openScanBench(database, { seed: { count: 10, seed: 2 }, accountId: 'acct_other' });
  }

  test("with another account's key: many are held before one is asked for", async () => {
    const bench = await withOtherKey(300, freshDatabase());

    const { result } = await bench.scan({ requestId: 'other' });

    expect(result.removalsHeld).toBe(300);
    expect(bench.simulator.stats.calls[retrieve] ?? 0).toBe(0);
    expect(await marked(bench)).toBe(0);
  });

  test("with another account's key, even where there are too few to be held, or all were approved: 404 is not deleted", async () => {
    const small = await withOtherKey(40, freshDatabase());
    const { result } = await small.scan({ requestId: 'other' });
    expect(result).toMatchObject({ deleted: 0, unchanged: 40, created: 10 });
    expect(result.items.map(({ code }) => code)).toEqual(Array.from({ length: 40 }, () => 'not_in_account'));
    expect(await marked(small)).toBe(0);

    const large = await withOtherKey(150, freshDatabase());
    await large.scan({ requestId: 'other' });
    expect(await large.approve('other')).toMatchObject({ deleted: 0, unchanged: 150 });
    expect(await marked(large)).toBe(0);
  });

  test('where the list is empty for once: each is asked for, and there', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 80 } });
    await bench.scan({ requestId: 'before' });
    bench.simulator.fault({
      kind: 'custom',
      endpoint: list,
      times: Infinity,
      answer: () => ({
        status: 200,
        body: { object: 'list', data: [], has_more: false, url: '/v1/customers' },
      }),
    });

    const { result } = await bench.scan({ requestId: 'empty' });

    expect(result).toMatchObject({ deleted: 0, unchanged: 80 });
    expect(await marked(bench)).toBe(0);
  });

  test('after a scan that was cut off, wherever that was', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 1_200 } });
    await bench.scan({ requestId: 'before' });
    const gone = bench.simulator.listIds().filter((_, index) => index % 60 === 0);
    for (const id of gone) bench.simulator.delete(id);
    const completed = await lastCompleteScan(bench);

    for (let at = 1; at <= 10; at += 3) {
      const stop = new AbortController();
      const source = beforeLists(bench, (call) => {
        if (call === at) stop.abort(new Error('cut off'));
      });
      await expect(
        bench.scan({ requestId: `cut off at ${at}`, source, signal: stop.signal }),
      ).rejects.toThrow('cut off');
      expect(bench.simulator.stats.calls[retrieve] ?? 0).toBe(0);
      expect(await marked(bench)).toBe(0);
    }

    expect(await lastCompleteScan(bench)).toEqual(completed);
    expect((await bench.scan({ requestId: 'whole' })).result.deleted).toBe(gone.length);
  });

  test('for belonging to a test clock: such customers are never listed, and never suspected', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 200 } });
    await bench.scan();
    const onClocks = Array.from({ length: 30 }, () => bench.simulator.create({ test_clock: 'clock_1' }).id);
    await syncByIds(bench.source, bench.mirror, onClocks as StripeId[], { signal, concurrency: 4 });
    const asked = bench.simulator.stats.calls[retrieve];

    const { result } = await bench.scan({ requestId: 'again' });

    expect(result).toMatchObject({ deleted: 0, unchanged: 200, items: [] });
    expect(bench.simulator.stats.calls[retrieve]).toBe(asked);
    expect(await marked(bench)).toBe(0);
  });
});

describe('a scan is a success only when it is complete', () => {
  test('one that is throttled for longer than a call may take fails, goes on later, and only then counts', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 1_000 } }, { callDeadlineMs: 1_500 });
    bench.simulator.fault({
      kind: 'rateLimit',
      reason: 'endpoint-rate',
      endpoint: list,
      skip: 5,
      times: Infinity,
    });

    await expect(bench.scan()).rejects.toMatchObject({ code: 'stripe_rate_limited', kind: 'retryable' });

    expect(await lastCompleteScan(bench)).toBeNull();
    bench.simulator.clearFaults();
    const report = await bench.scan();
    expect(report.isResumed).toBe(true);
    expect(report.result.created + report.result.unchanged).toBe(1_000);
    expect(await lastCompleteScan(bench)).toMatchObject({ at: expect.any(Date) as Date });
    expect(await bench.differences()).toEqual([]);
  });

  test('one that dies without a word counts nowhere, and another one brings the mirror in line', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 1_000 } });
    let lists = 0;
    const source: ScanBench['source'] = {
      ...bench.source,
      list: async (query, options) => {
        if ((lists += 1) > 6) await once(options.signal, 'abort');
        return bench.source.list(query, options);
      },
    };
    const stop = new AbortController();
    const dying = bench.scan({ source, signal: stop.signal }).catch((error: unknown) => error);
    await until(() => lists > 6, { what: 'the scan to stand still' });
    expect(await lastCompleteScan(bench)).toBeNull();

    const { result } = await bench.scan({ requestId: 'another' });
    const completed = await lastCompleteScan(bench);
    stop.abort(new Error('died'));
    await dying;

    expect(result.created + result.unchanged).toBe(1_000);
    expect(completed).not.toBeNull();
    expect(await lastCompleteScan(bench)).toEqual(completed);
    expect(await bench.differences()).toEqual([]);
  });
});

/** Stripe's listing, but for one row a page that comes on the page after, before rows that are older. */
function lateRows({ source }: ScanBench): ScanBench['source'] {
  const heldBack = new Map<string, StripeObject>();
  return {
    ...source,
    list: async (query, options) => {
      const answer = await source.list(query, options);
      if (answer.kind === 'cursor_gone') return answer;
      const walk = `${query.gte ?? ''} ${query.lt ?? ''}`;
      const late = heldBack.get(walk);
      heldBack.delete(walk);
      const objects = [...answer.objects];
      if (answer.hasMore && objects.length > 10) heldBack.set(walk, objects.splice(5, 1)[0]!);
      if (late) objects.splice(3, 0, late);
      return { ...answer, objects };
    },
  };
}

describe('a server that answers another question than Stripe would', () => {
  test.each(['created', 'limit', 'starting_after'] as const)(
    'because it ignores %s ends the scan with the reason, and nobody is marked',
    async (name) => {
      const bench = await openScanBench(
        freshDatabase(),
        { seed: { count: 250, distribution: 'growth' } },
        { attemptTimeoutMs: 400, callDeadlineMs: 400 },
      );
      await bench.scan({ listsAtOnce: 1 });
      const completed = await lastCompleteScan(bench);
      bench.simulator.fault({ kind: 'ignoreParameters', names: [name], endpoint: list, times: Infinity });

      await expect(bench.scan({ listsAtOnce: 3, requestId: 'again' })).rejects.toMatchObject({
        code: 'stripe_invalid_response',
      });

      expect(await lastCompleteScan(bench)).toEqual(completed);
      expect(await marked(bench)).toBe(0);
      bench.simulator.clearFaults();
      await bench.scan({ requestId: 'at last' });
      expect(await bench.differences()).toEqual([]);
    },
  );

  test('because its pages lead in a circle ends the scan with the reason', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 350 } });
    const ids = bench.simulator.listIds();
    const source: ScanBench['source'] = {
      ...bench.source,
      list: (query, options) => {
        const isThird = query.startingAfter === ids[199];
        return bench.source.list({ ...query, ...(isThird && { startingAfter: undefined }) }, options);
      },
    };

    await expect(bench.scan({ source, listsAtOnce: 1 })).rejects.toMatchObject({
      code: 'stripe_invalid_response',
    });
  });
});

test('attempts that go round a circle of pages count, as nothing more is settled', async () => {
  const bench = await openScanBench(freshDatabase(), { seed: { count: 350 } });
  const ids = bench.simulator.listIds();
  const source: ScanBench['source'] = {
    ...bench.source,
    list: async (query, options) => {
      // After the second page comes the first one, after the first one the second.
      const isSecond = query.startingAfter === ids[199];
      return bench.source.list({ ...query, ...(isSecond && { startingAfter: undefined }) }, options);
    },
  };
  const moved: number[] = [];
  for (let attempt = 1; attempt <= 10; attempt += 1) {
    let count = 0;
    const onCheckpoint = (): void => void (count += 1);
    await expect(
      bench.scan({ source, listsAtOnce: 1, requestId: 'the same', onCheckpoint }),
    ).rejects.toMatchObject({ code: 'stripe_invalid_response' });
    moved.push(count);
  }

  // The first ones may settle what those before had listed.
  expect(moved.slice(-5)).toEqual([0, 0, 0, 0, 0]);
});

describe('rows out of order', () => {
  test('are mirrored, whatever page they come on', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 450 } });

    const report = await bench.scan({ source: lateRows(bench), listsAtOnce: 1 });

    expect(report.disordered).toBeGreaterThan(0);
    expect(report.result.created).toBe(450);
    expect(await bench.differences()).toEqual([]);
  });

  test('make nobody missing near them, and changes in them arrive', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 450 } });
    await bench.scan();
    bench.simulator.updateRandom(200);

    const report = await bench.scan({ source: lateRows(bench), listsAtOnce: 1, requestId: 'again' });

    expect(report.disordered).toBeGreaterThan(0);
    // One that is missed on its page and comes later may have been asked for in between, and counts then, too.
    expect(report.result).toMatchObject({ created: 0, updated: 200, deleted: 0, failed: 0 });
    expect(await bench.differences()).toEqual([]);
  });
});

describe('hints that a customer changed', () => {
  test('in any order, doubled, late or wrong bring each customer to its present state, and never back', async () => {
    const bench = await openScanBench(freshDatabase(), {
      seed: { count: 60 },
      latency: { ms: 10, jitterMs: 10, computeAt: 'random' },
    });
    await bench.scan();
    const ids = bench.simulator.listIds() as StripeId[];
    const hints: StripeId[] = [];
    for (let round = 0; round < 4; round += 1) {
      for (const id of ids.slice(0, 30)) {
        const { metadata } = bench.simulator.get(id) as CustomerObject;
        bench.simulator.update(id, { metadata: { version: String(Number(metadata['version'] ?? 0) + 1) } });
        hints.push(id, id);
      }
    }
    for (const id of ids.slice(10, 20)) bench.simulator.delete(id);
    hints.push(...ids.slice(40)); // nothing happened to them
    const shuffled = hints
      .map((id, index) => ({ id, at: (index * 7_919) % 1_009 }))
      .sort((a, b) => a.at - b.at);

    await Promise.all(
      shuffled.map(({ id }) =>
        retrieveAndApply(bench.source, bench.mirror, id, { priority: 'small', signal }),
      ),
    );

    expect(await bench.differences()).toEqual([]);
    for (const id of ids.slice(10, 20))
      expect(await bench.stored(id)).toMatchObject({ _sync: { deletedBy: 'stripe' } });
  });
});
