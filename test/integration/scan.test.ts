import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { dryRunOf, volatileScanState } from '../../src/sync/dry-run.js';
import type { MirrorWrite } from '../../src/sync/ports.js';
import type { ScanOptions, ScanReport } from '../../src/sync/scan/scan.js';
import { freshDatabase } from '../support/database.js';
import { insertedAs, takeBatch } from '../support/mirror.js';
import { openScanBench, type ScanBench } from '../support/scan.js';

const countsOf = ({ result }: ScanReport): Record<string, number> =>
  Object.fromEntries(Object.entries(result).filter(([, count]) => typeof count === 'number' && count > 0));

/** A mirror that counts its writes and can run something before each. */
const watching = (bench: ScanBench, before?: (writes: readonly MirrorWrite[]) => Promise<void> | void) => {
  const writes: MirrorWrite[] = [];
  const mirror: ScanOptions['mirror'] = {
    ...bench.mirror,
    write: async (given) => {
      await before?.(given);
      writes.push(...given);
      return bench.mirror.write(given);
    },
  };
  return { mirror, writes };
};

/** Windows that were begun: every other page follows a cursor. */
const windowsOf = ({ simulator }: ScanBench): number =>
  simulator.requests.filter(
    ({ endpoint, url }) => endpoint === 'GET /v1/customers' && !url.includes('starting_after'),
  ).length;

describe('a full scan', () => {
  it.each([
    { listsAtOnce: 1, windows: 2 },
    { listsAtOnce: 2, windows: 3 },
    { listsAtOnce: 7, windows: 7 },
  ])(
    'brings an empty mirror in line with Stripe, whatever the windows ($listsAtOnce at once)',
    async ({ listsAtOnce, windows }) => {
      const bench = await openScanBench(freshDatabase(), { seed: { count: 1_234, distribution: 'growth' } });

      const report = await bench.scan({ listsAtOnce });

      expect(countsOf(report)).toEqual({ created: 1_234 });
      expect(await bench.differences()).toEqual([]);
      // With the one of the catch-up; thieves may have added some.
      if (listsAtOnce === 1) expect(windowsOf(bench)).toBe(windows);
      else expect(windowsOf(bench)).toBeGreaterThanOrEqual(windows);
    },
  );

  it('writes nothing when nothing has changed', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 500 } });
    await bench.scan();
    const { mirror, writes } = watching(bench);

    const report = await bench.scan({ mirror });

    expect(countsOf(report)).toEqual({ unchanged: 500 });
    expect(writes).toEqual([]);
  });

  it('writes what changed, was removed and came new, and nothing else', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 600 } });
    await bench.scan();
    const ids = bench.simulator.listIds();
    for (const id of ids.slice(0, 20)) bench.simulator.update(id, { name: 'changed' });
    for (const id of ids.slice(300, 305)) bench.simulator.delete(id);
    for (let index = 0; index < 10; index += 1) bench.simulator.create();
    const { mirror, writes } = watching(bench);

    const report = await bench.scan({ mirror });

    expect(countsOf(report)).toEqual({ created: 10, updated: 20, deleted: 5, unchanged: 575 });
    expect(writes).toHaveLength(35);
    expect(report.result.items.map(({ id, outcome }) => [id, outcome]).sort()).toEqual(
      ids
        .slice(300, 305)
        .map((id) => [id, 'deleted'])
        .sort(),
    );
    expect(await bench.differences()).toEqual([]);
  });

  it('finds a change of an old customer, although no customer says when it changed', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 300 } });
    await bench.scan();
    const oldest = String(bench.simulator.listIds().at(-1));
    bench.simulator.update(oldest, { metadata: { a: 'b' } });

    expect(countsOf(await bench.scan())).toEqual({ updated: 1, unchanged: 299 });
    expect(await bench.stored(oldest)).toMatchObject({ metadata: { a: 'b' } });
  });

  it('misses none of the customers that are created while it runs', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 700 } });
    let created = 0;
    const { mirror } = watching(bench, () => {
      for (; created < 50; created += 1) bench.simulator.create();
    });

    await bench.scan({ mirror, listsAtOnce: 1 });

    expect(created).toBe(50);
    expect(await bench.differences()).toEqual([]);
  });

  it.each([1, 3])(
    'loses no customer when the last one of every page is deleted before the next is asked for (%i windows)',
    async (listsAtOnce) => {
      const bench = await openScanBench(freshDatabase(), { seed: { count: 650, distribution: 'growth' } });
      const cursors = new Set<string>();
      const source: ScanOptions['source'] = {
        ...bench.source,
        list: async (query, options) => {
          const cursor = query.startingAfter;
          if (cursor !== undefined && !cursors.has(cursor)) {
            cursors.add(cursor);
            bench.simulator.delete(cursor);
          }
          return bench.source.list(query, options);
        },
      };

      const report = await bench.scan({ source, listsAtOnce });

      expect(cursors.size).toBeGreaterThanOrEqual(5);
      // Whoever was deleted after being listed is known, and suspected by the next scan.
      expect(report.result.created).toBe(650);
      expect((await bench.scan()).result.deleted).toBe(cursors.size);
      expect(await bench.differences()).toEqual([]);
    },
  );

  it('starts again below what it has seen when a whole page of cursors is gone', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 450 } });
    let pages = 0;
    const source: ScanOptions['source'] = {
      ...bench.source,
      list: async (query, options) => {
        pages += 1;
        if (pages === 3)
          for (const id of bench.simulator.listIds().slice(100, 200)) bench.simulator.delete(id);
        return bench.source.list(query, options);
      },
    };

    // One cursor: the third page is the one that would follow those that are gone.
    const report = await bench.scan({ source, listsAtOnce: 1 });

    expect(countsOf(report)).toEqual({ created: 450 });
  });

  it('loses none of 250 customers of one second, and sees none twice', async () => {
    const bench = await openScanBench(freshDatabase());
    const second = bench.simulator.clock.seconds() - 10_000;
    for (let index = 0; index < 250; index += 1) bench.simulator.create({ created: second });
    for (let index = 0; index < 150; index += 1) bench.simulator.create({ created: second - 1 - index });
    for (let index = 0; index < 150; index += 1) bench.simulator.create({ created: second + 1 + index });

    for (const listsAtOnce of [1, 5]) {
      const report = await bench.scan({ listsAtOnce });
      expect(report.result.created + report.result.unchanged).toBe(550);
    }
    const removed = bench.simulator
      .list()
      .filter(({ created }) => created === second)
      .map(({ id }) => id);
    for (const id of removed.slice(60, 90)) bench.simulator.delete(id);

    expect(countsOf(await bench.scan())).toEqual({ unchanged: 520, deleted: 30 });
    expect(await bench.differences()).toEqual([]);
  });

  it('marks nobody for being absent: it asks Stripe, and believes only deleted: true', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 300 } });
    await bench.scan();
    const onClock = bench.simulator.create({ test_clock: 'clock_1' });
    const elsewhere = {
      id: 'cus_of_another_account',
      object: 'customer',
      created: 1_700_000_000,
      livemode: false,
    };
    await bench.read(onClock, 0);
    await bench.read(elsewhere, 0);
    const gone = bench.simulator.create();
    bench.simulator.delete(gone.id);
    await takeBatch(
      bench.mirror,
      ['cus_never_was', gone.id].map((id) => ({ id, name: 'part' })),
      insertedAs(1, 0),
    );

    const report = await bench.scan();

    expect(countsOf(report)).toEqual({ unchanged: 302, deleted: 1 });
    expect(report.result.items.map(({ id, outcome, code }) => [id, outcome, code]).sort()).toEqual(
      [
        ['cus_of_another_account', 'unchanged', 'not_in_account'],
        ['cus_never_was', 'unchanged', 'not_in_account'],
        [gone.id, 'deleted', undefined],
      ].sort(),
    );
    expect(await bench.stored(onClock.id)).not.toHaveProperty('_sync.deletedAt');
    expect(await bench.stored('cus_of_another_account')).not.toHaveProperty('_sync.deletedAt');
  });

  it('holds a mass removal before asking for a single one, and is no complete scan then', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 400 } });
    await bench.scan();
    const before = await bench.db
      .collection<{ _id: string }>('sync_state')
      .findOne({ _id: 'scan-completed:customer' });
    for (const id of bench.simulator.listIds().slice(0, 150)) bench.simulator.delete(id);
    const callsBefore = bench.simulator.stats.calls['GET /v1/customers/{id}'] ?? 0;

    const report = await bench.scan();

    expect(report.result.removalsHeld).toBe(150);
    expect(report.result.deleted).toBe(0);
    expect(bench.simulator.stats.calls['GET /v1/customers/{id}'] ?? 0).toBe(callsBefore);
    expect(
      await bench.db.collection<{ _id: string }>('sync_state').findOne({ _id: 'scan-completed:customer' }),
    ).toEqual(before);
  });

  it('goes on with held removals once they are approved, without a new scan, and is complete as of the listing', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 400 } });
    await bench.scan({ requestId: 'first' });
    const gone = bench.simulator.listIds().slice(0, 150);
    for (const id of gone) bench.simulator.delete(id);
    await bench.scan({ requestId: 'second' });
    const lists = bench.simulator.stats.calls['GET /v1/customers'];

    await expect(bench.approve('first')).rejects.toMatchObject({ code: 'not_found' });
    const result = await bench.approve('second');

    expect(result.deleted).toBe(150);
    expect(bench.simulator.stats.calls['GET /v1/customers']).toBe(lists);
    expect(await bench.differences()).toEqual([]);
    expect(await bench.state.held()).toBeUndefined();
    await expect(bench.approve('second')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('asks again for an id of another account only after a month', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 50 } });
    await bench.read({ id: 'cus_elsewhere', object: 'customer', created: 1_700_000_000, livemode: false }, 0);

    const [first, second] = [await bench.scan(), await bench.scan()];
    await bench.db
      .collection<{ _id: string }>('sync_state')
      .updateOne(
        { _id: 'absent:customer:cus_elsewhere' },
        { $set: { at: new Date(Date.now() - 31 * 86_400_000) } },
      );
    const third = await bench.scan();

    expect([first, second, third].map(({ result }) => result.items.length)).toEqual([1, 0, 1]);
  });

  it('begins anew for another request: what the interrupted one had read may be older than that request', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 900 } });
    const stop = new AbortController();
    const { mirror } = watching(bench, () =>
      stop.abort(new Fault('shutdown', 'Stopping', { kind: 'retryable' })),
    );
    await expect(bench.scan({ mirror, signal: stop.signal, requestId: 'first' })).rejects.toThrow('Stopping');

    const report = await bench.scan({ requestId: 'second' });

    expect(report.isResumed).toBe(false);
    expect(report.result.created + report.result.unchanged).toBe(900);
  });

  it('is refused to write its checkpoint once another run has taken over', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 900 } });
    let isTaken = false;
    const { mirror } = watching(bench, async () => {
      if (!isTaken) await bench.state.begin('another run');
      isTaken = true;
    });

    await expect(bench.scan({ mirror })).rejects.toMatchObject({ code: 'lease_lost' });
  });

  it('concludes nothing from a scan that could not finish', async () => {
    const bench = await openScanBench(
      freshDatabase(),
      { seed: { count: 400 } },
      { callDeadlineMs: 2_000, attemptTimeoutMs: 1_500 },
    );
    await bench.scan();
    bench.simulator.delete(String(bench.simulator.listIds()[5]));
    const fault = bench.simulator.fault({
      kind: 'status',
      status: 500,
      path: '/v1/customers?',
      times: Infinity,
      skip: 2,
    });

    await expect(bench.scan({ listsAtOnce: 1 })).rejects.toMatchObject({ kind: 'retryable' });
    fault.remove();

    expect(await bench.mirroredIds()).toHaveLength(400);
    expect(countsOf(await bench.scan())).toEqual({ unchanged: 399, deleted: 1 });
  });

  it('leaves nothing behind on a dry run but tells the full result', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 200 } });
    bench.simulator.create(); // so young that the catch-up lists it once more

    const report = await bench.scan({
      mirror: dryRunOf(bench.mirror, { remembers: false }),
      state: volatileScanState(),
    });

    expect(countsOf(report)).toEqual({ created: 201 });
    expect(await bench.mirroredIds()).toEqual([]);
    expect(await bench.db.collection('sync_state').countDocuments({ _id: /^scan/ as never })).toBe(0);
  });
});
