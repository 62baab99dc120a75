// Scans with `sync.testClocks` list the customers of test clocks, too: clock by clock, without bounds of `created`.
import { describe, expect, test } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { Fault } from '../../src/base/errors.js';
import { syncByIds } from '../../src/sync/by-ids.js';
import { dryRunOf, volatileScanState } from '../../src/sync/dry-run.js';
import type { SyncResult } from '../../src/sync/outcome.js';
import type { StripeId } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { countsOf as countsOfRequest, startDaemon, UserOfQueue } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { Life, openScanBench, type ScanBench } from '../support/scan.js';

const clocksList = 'GET /v1/test_helpers/test_clocks';
const retrieve = 'GET /v1/customers/{id}';
const removals = { maxRatio: 1, maxCount: 10_000 };
const frozenAt = 1_300_000_000;
const stopped = (): Fault => new Fault('shutdown', 'Stopped by the test', { kind: 'retryable' });

const countsOf = (result: SyncResult): Record<string, number> =>
  Object.fromEntries(Object.entries(result).filter(([, count]) => typeof count === 'number' && count > 0));

/** Makes a restricted key that may read test clocks. */
function permit(simulator: StripeSimulator): void {
  simulator.addKey(simulator.restrictedKey, {
    permissions: ['rak_customer_read', 'rak_event_read', 'rak_billing_clock_read'],
  });
}

/** An account of 200 customers without a clock, and as many clocks as there are numbers, each of so many customers. */
async function account(customersOf: readonly number[]) {
  const bench = await openScanBench(freshDatabase(), { seed: { count: 200 } });
  permit(bench.simulator);
  const ids = customersOf.map((count, index) =>
    Array.from(
      { length: count },
      (_, age) =>
        bench.simulator.create({ test_clock: `clock_${index}`, created: frozenAt + index - age }).id,
    ),
  );
  const scan = (options: Parameters<ScanBench['scan']>[0] = {}) =>
    bench.scan({ testClocks: true, removals, ...options });
  return { bench, scan, ids, all: ids.flat() };
}

/** The mirrored customers of clocks that differ from Stripe's. */
async function wrong({ simulator, stored }: ScanBench, ids: readonly string[]): Promise<string[]> {
  const found = await Promise.all(ids.map(async (id) => [id, await stored(id)] as const));
  return found
    .filter(([id, document]) => {
      const { _id, _sync, app, ...fields } = document ?? {};
      return JSON.stringify(fields) !== JSON.stringify(simulator.get(id));
    })
    .map(([id]) => id);
}

const listsOf = ({ simulator }: ScanBench): string[] =>
  simulator.requests.map(({ url }) => url).filter((url) => url.includes('test_clock'));

describe('without the setting', () => {
  test('customers of test clocks are neither listed nor touched', async () => {
    const { bench, all } = await account([3, 2]);
    await syncByIds(bench.source, bench.mirror, all as StripeId[], {
      signal: new AbortController().signal,
      concurrency: 4,
    });
    bench.simulator.deleteTestClock('clock_0');

    const { result } = await bench.scan({ removals });

    expect(countsOf(result)).toEqual({ created: 200 });
    expect(listsOf(bench)).toEqual([]);
    expect(await bench.stored(all[0]!)).toMatchObject({ _sync: { source: 'retrieve' } });
  });
});

describe('with the setting', () => {
  test('new ones are mirrored, changed ones updated, and each counts once', async () => {
    const { bench, scan, ids, all } = await account([3, 1, 0, 2]);
    bench.simulator.createTestClock('clock_empty');

    const first = await scan();
    expect(countsOf(first.result)).toEqual({ created: 200 + all.length });
    expect(await wrong(bench, all)).toEqual([]);
    expect(listsOf(bench).filter((url) => url.includes('created'))).toEqual([]);

    for (const id of ids[0]!) bench.simulator.update(id, { name: 'changed' });
    const added = bench.simulator.create({ test_clock: 'clock_3', created: 4_000_000_000 }).id;
    const second = await scan({ requestId: 'second' });
    expect(countsOf(second.result)).toEqual({ created: 1, updated: 3, unchanged: 203 });
    expect(await wrong(bench, [...all, added])).toEqual([]);
    expect(bench.simulator.stats.calls[retrieve] ?? 0).toBe(0);
    expect(await bench.differences()).toHaveLength(all.length + 1); // none but those that a plain list leaves out
  });

  test('a deleted one, and those of a deleted clock, are marked once Stripe has confirmed it', async () => {
    const { bench, scan, ids, all } = await account([3, 3, 2]);
    await scan();
    bench.simulator.delete(ids[0]![1]!);
    bench.simulator.deleteTestClock('clock_1');

    const { result } = await scan({ requestId: 'second' });

    const gone = [ids[0]![1]!, ...ids[1]!];
    expect(countsOf(result)).toEqual({ unchanged: 200 + all.length - gone.length, deleted: gone.length });
    expect(bench.simulator.stats.calls[retrieve]).toBe(gone.length);
    for (const id of gone) expect(await bench.stored(id)).toMatchObject({ _sync: { deletedBy: 'stripe' } });
  });

  test('one of whom Stripe knows nothing any more is reported, and left alone', async () => {
    const { bench, scan, all } = await account([2]);
    await scan();
    const unknown = { id: 'cus_forgotten', object: 'customer', created: frozenAt, livemode: false };
    await bench.read({ ...unknown, test_clock: 'clock_gone' }, 0);

    const { result } = await scan({ requestId: 'second' });

    expect(countsOf(result)).toEqual({ unchanged: 200 + all.length + 1 });
    expect(result.items).toMatchObject([
      { id: 'cus_forgotten', outcome: 'unchanged', code: 'not_in_account' },
    ]);
  });

  test('too many at once are held, and approved without asking for those that were listed', async () => {
    const { bench, scan, ids, all } = await account([5, 12]);
    await scan();
    bench.simulator.deleteTestClock('clock_1');

    const { result } = await scan({ requestId: 'held', removals: { maxRatio: 0, maxCount: 10 } });
    expect(countsOf(result)).toEqual({ unchanged: 200 + all.length - 12, removalsHeld: 12 });
    const approved = await bench.approve('held', { ofTestClocks: true });

    expect(countsOf(approved)).toEqual({ deleted: 12 });
    expect(bench.simulator.stats.calls[retrieve]).toBe(12);
    expect(await bench.stored(ids[1]![0]!)).toMatchObject({ _sync: { deletedBy: 'stripe' } });
  });

  test('any number of clocks, and of customers of one clock, is listed page by page', async () => {
    const { bench, scan, all } = await account([...Array.from({ length: 120 }, () => 1), 250]);

    const { result } = await scan();

    expect(countsOf(result)).toEqual({ created: 200 + all.length });
    expect(await wrong(bench, all)).toEqual([]);
    expect(bench.simulator.stats.calls[clocksList]).toBe(2);
  });

  test('a scan that was stopped or killed in the middle of a clock is resumed there, and counts each once', async () => {
    const { bench, scan, all } = await account([2, 250, 3, 1]);
    for (const how of ['stopped', 'killed'] as const) {
      const stop = new AbortController();
      const life = new Life();
      let pages = 0;
      const source: ScanBench['source'] = {
        ...bench.source,
        list: async (query, options) => {
          const answer = await bench.source.list(query, options);
          if (query.testClock === 'clock_1' && (pages += 1) === 2) {
            if (how === 'stopped') stop.abort(stopped());
            else life.end();
          }
          return answer;
        },
      };
      const ports =
        how === 'killed' ? { source: life.portOf(source), state: life.portOf(bench.state) } : { source };
      await expect(scan({ ...ports, signal: stop.signal })).rejects.toThrow(/Stopped|killed/);
    }
    const before = bench.simulator.stats.calls[clocksList] ?? 0;
    const asked = listsOf(bench).length;

    const { result, isResumed } = await scan();

    expect(isResumed).toBe(true);
    expect(countsOf(result)).toMatchObject({ created: expect.any(Number) as number });
    expect(result.created + result.unchanged).toBe(200 + all.length);
    expect(await wrong(bench, all)).toEqual([]);
    // The clocks that were settled are not listed again: those before clock_1, the newest first.
    expect(bench.simulator.stats.calls[clocksList]).toBe(before + 1);
    expect(
      listsOf(bench)
        .slice(asked)
        .filter((url) => /clock_[23]\b/.test(url) && url.includes('/customers')),
    ).toEqual([]);
  });

  test('attempts that go round a circle of pages of clocks count, as nothing more is settled', async () => {
    const { bench, scan } = await account(Array.from({ length: 120 }, () => 1));
    const source: ScanBench['source'] = {
      ...bench.source,
      // After the second page comes the first one.
      testClocks: async (query, options) => {
        const answer = await bench.source.testClocks!(query, options);
        if (answer.kind === 'cursor_gone' || answer.hasMore) return answer;
        const first = await bench.source.testClocks!({ limit: 100 }, options);
        return query.startingAfter === undefined ? answer : { ...answer, ...first, hasMore: true };
      },
    };
    const moved: number[] = [];
    for (let attempt = 1; attempt <= 6; attempt += 1) {
      let count = 0;
      const onCheckpoint = (): void => void (count += 1);
      await expect(scan({ source, requestId: 'the same', onCheckpoint })).rejects.toMatchObject({
        code: 'stripe_invalid_response',
      });
      moved.push(count);
    }

    // The first ones may settle what those before had listed.
    expect(moved.slice(-3)).toEqual([0, 0, 0]);
  });

  test('a clock that is deleted while it is listed, or as the place to go on from, stops nobody', async () => {
    const { bench, scan, ids, all } = await account([2, 3, 2, 1]);
    await scan();
    let clock = 0;
    const source: ScanBench['source'] = {
      ...bench.source,
      list: (query, options) => {
        if (query.testClock !== undefined && (clock += 1) === 2)
          bench.simulator.deleteTestClock(query.testClock);
        return bench.source.list(query, options);
      },
      testClocks: (query, options) => {
        const isSecond = query.startingAfter !== undefined && clock < 10;
        if (isSecond) bench.simulator.deleteTestClock(query.startingAfter);
        return bench.source.testClocks!({ ...query, limit: 3 }, options);
      },
    };

    const { result } = await scan({ requestId: 'second', source });

    const gone = all.filter((id) => 'deleted' in bench.simulator.get(id)!);
    expect(gone.length).toBeGreaterThan(2);
    // One customer was listed before its clock was deleted: it counts once, and the next scan marks it.
    const marked = result.deleted;
    expect(result.unchanged + marked).toBe(200 + all.length);
    const { result: third } = await scan({ requestId: 'third' });
    expect(marked + third.deleted).toBe(gone.length);
    expect(await wrong(bench, ids[0]!)).toEqual([]);
  });

  test('a dry run counts as the real run does, and writes nothing', async () => {
    const { bench, scan, ids, all } = await account([3, 3, 2]);
    await scan();
    bench.simulator.deleteTestClock('clock_1');
    bench.simulator.update(ids[0]![0]!, { name: 'changed' });
    bench.simulator.create({ test_clock: 'clock_2', created: frozenAt });

    const dry = await scan({
      requestId: 'dry',
      mirror: dryRunOf(bench.mirror, { remembers: false }),
      state: volatileScanState(bench.state),
    });
    expect(await bench.db.collection('stripe_customers').countDocuments()).toBe(200 + all.length);
    const { result } = await scan({ requestId: 'real' });

    expect(countsOf(dry.result)).toEqual(countsOf(result));
    expect(countsOf(result)).toEqual({ created: 1, updated: 1, unchanged: 204, deleted: 3 });
  });

  test('a key that may not list test clocks ends the scan with the reason; nothing is concluded', async () => {
    const { bench, scan } = await account([2]);
    bench.simulator.addKey(bench.simulator.restrictedKey, { permissions: ['rak_customer_read'] });

    await expect(scan()).rejects.toMatchObject({
      code: 'stripe_permission_denied',
      message: expect.stringContaining(clocksList) as string,
    });
  });

  test('the daemon takes the setting, and refuses it with a live key by its name', async () => {
    const database = freshDatabase();
    const simulator = await startSimulator();
    atEnd(() => simulator.close());
    for (let n = 0; n < 5; n += 1) simulator.create({ test_clock: n < 3 ? 'clock_1' : null });
    permit(simulator);
    const daemon = startDaemon(database, simulator, { SYNC_TEST_CLOCKS: 'true' });
    await daemon.ready();

    const request = await new UserOfQueue(database.db).run({ command: 'syncAll' });

    expect(countsOfRequest(request)).toEqual({ created: 5 });
    const refused = startDaemon(freshDatabase(), simulator, {
      SYNC_TEST_CLOCKS: 'true',
      STRIPE_API_KEY: simulator.account().keys.secretLive,
    });
    expect(await refused.exit).toEqual({ code: 2, signal: null });
    expect(refused.lines.map(({ text }) => text).join('\n')).toContain(
      'SYNC_TEST_CLOCKS must be false with a live key',
    );
  });
});
