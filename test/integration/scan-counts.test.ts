// Each customer counts once in a result, whatever the scan meets twice; and a dry run counts as the real run would at that moment.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { confirmDeleted } from '../../src/sync/deletion.js';
import { dryRunOf, readOnlyScanState, volatileScanState } from '../../src/sync/dry-run.js';
import type { SyncResult } from '../../src/sync/outcome.js';
import type { StripeId } from '../../src/sync/ports.js';
import { freshDatabase } from '../support/database.js';
import { insertedAs, openMirror, takeBatch } from '../support/mirror.js';
import { Life, openScanBench, type ScanBench } from '../support/scan.js';

const removals = { maxRatio: 1, maxCount: 10_000 };
const retrieve = 'GET /v1/customers/{id}';
const stopped = (): Fault => new Fault('shutdown', 'Stopped by the test', { kind: 'retryable' });

const countsOf = (result: SyncResult): Record<string, number> =>
  Object.fromEntries(Object.entries(result).filter(([, count]) => typeof count === 'number' && count > 0));

const sumOf = (result: SyncResult): number =>
  Object.entries(countsOf(result)).reduce(
    (sum, [what, count]) => sum + (what === 'removalsHeld' ? 0 : count),
    0,
  );

const itemsOf = ({ items }: SyncResult): unknown =>
  [...items].map(({ id, outcome, code }) => `${id} ${outcome} ${code}`).sort();

/** The mirror has them from a batch: with another `created`, or as a part without any. */
async function held(bench: ScanBench, entries: readonly object[], at = new Date(1_000)): Promise<void> {
  await takeBatch(bench.mirror, entries, insertedAs(at.getTime(), at.getTime()));
}

const isCatchUp = (
  { gte = 0, lt }: { gte?: number | undefined; lt?: number | undefined },
  now: number,
): boolean => lt === undefined && gte > now - 600;

describe('a customer counts once in the result of a scan', () => {
  test.each([
    ['is new', false, { created: 40, unchanged: 60 }],
    ['was mirrored', true, { updated: 40, unchanged: 60 }],
  ])(
    'that %s, was created in the last minute and changes while the scan runs',
    async (_, isKnown, counts) => {
      const bench = await openScanBench(freshDatabase(), { seed: { count: 60 } });
      await bench.scan({ requestId: 'before' });
      const now = bench.simulator.clock.seconds();
      const young = Array.from({ length: 40 }, (_, age) => bench.simulator.create({ created: now - age }).id);
      if (isKnown) {
        await bench.scan({ requestId: 'known' });
        for (const id of young) bench.simulator.update(id, { name: 'one' });
      }
      let lists = 0;
      const source: ScanBench['source'] = {
        ...bench.source,
        list: async (query, options) => {
          const answer = await bench.source.list(query, options);
          if ((lists += 1) === 1) for (const id of young) bench.simulator.update(id, { name: 'two' });
          return answer;
        },
      };

      const { result } = await bench.scan({ source });

      expect(countsOf(result)).toEqual(counts);
      expect(await bench.differences()).toEqual([]);
    },
  );

  test.each([1, 2, 3])('that a catch-up had written before it was stopped (%i times)', async (stops) => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 50 } });
    await bench.scan({ requestId: 'before' });
    const now = bench.simulator.clock.seconds();
    const young = Array.from(
      { length: 430 },
      (_, age) => bench.simulator.create({ created: now - (age % 20) }).id,
    );
    for (const id of bench.simulator.listIds().slice(-5)) bench.simulator.update(id, { name: 'new' });

    let result: SyncResult | undefined;
    for (let run = 1; !result; run += 1) {
      const stop = new AbortController();
      let pages = 0;
      const source: ScanBench['source'] = {
        ...bench.source,
        list: (query, options) => {
          if (run <= stops && isCatchUp(query, now) && (pages += 1) === run + 1) stop.abort(stopped());
          return bench.source.list(query, options);
        },
      };
      const scanning = bench.scan({ source, signal: stop.signal, listsAtOnce: 1 });
      if (run > stops) result = (await scanning).result;
      else await expect(scanning).rejects.toMatchObject({ code: 'shutdown' });
    }

    expect(countsOf(result)).toEqual({ created: young.length, updated: 5, unchanged: 45 });
    expect(await bench.differences()).toEqual([]);
  });

  test('that is created in the last minute and deleted before the catch-up', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 60 } });
    const now = bench.simulator.clock.seconds();
    const young = Array.from({ length: 10 }, (_, age) => bench.simulator.create({ created: now - age }).id);
    await bench.scan({ requestId: 'before' });
    let lists = 0;
    const source: ScanBench['source'] = {
      ...bench.source,
      list: async (query, options) => {
        const answer = await bench.source.list(query, options);
        if ((lists += 1) === 1) for (const id of young.slice(0, 4)) bench.simulator.delete(id);
        return answer;
      },
    };

    const { result } = await bench.scan({ source });

    expect(countsOf(result)).toEqual({ unchanged: 66, deleted: 4 });
  });

  test('that the mirror has with another `created`, or without any: it is not missed where it was', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 300, distribution: 'growth' } });
    const ids = bench.simulator.listIds();
    const moved = ids.filter((_, index) => index % 10 === 0);
    const parts = ids.filter((_, index) => index % 10 === 1);
    await held(bench, [
      ...moved.map((id, index) => ({ ...bench.simulator.get(id), created: 1_600_000_000 + index })),
      ...parts.map((id) => ({ id, name: 'part' })),
    ]);

    const dry = await bench.scan({
      mirror: dryRunOf(bench.mirror, { remembers: false }),
      state: volatileScanState(bench.state),
      removals,
    });
    const { result } = await bench.scan({ removals, listsAtOnce: 4 });

    expect(countsOf(result)).toEqual({ created: 240, updated: 60 });
    expect(countsOf(dry.result)).toEqual(countsOf(result));
    expect(bench.simulator.stats.calls[retrieve] ?? 0).toBe(0);
    expect(await bench.differences()).toEqual([]);
  });

  test('whose deletion was stored, or who was found absent, before the scan was killed', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 200 } });
    await bench.scan({ requestId: 'before' });
    const gone = bench.simulator.listIds().filter((_, index) => index % 5 === 0);
    for (const id of gone) bench.simulator.delete(id);
    await held(
      bench,
      Array.from({ length: 6 }, (_, index) => ({
        id: `cus_elsewhere${index}`,
        object: 'customer',
        created: 1_500_000_000 + index,
        livemode: false,
      })),
    );
    let result: SyncResult | undefined;
    for (const dieAfter of [1, 9, 25, Infinity]) {
      const life = new Life();
      let asked = 0;
      const source: ScanBench['source'] = {
        ...bench.source,
        retrieve: async (...args) => {
          const answer = await bench.source.retrieve(...args);
          if ((asked += 1) >= dieAfter) setImmediate(() => life.end());
          return answer;
        },
      };
      const scanning = bench.scan({
        removals,
        source: life.portOf(source),
        mirror: life.portOf(bench.mirror),
        state: life.portOf(bench.state),
      });
      if (dieAfter === Infinity) result = (await scanning).result;
      else await expect(scanning).rejects.toThrow('killed');
    }

    expect(countsOf(result!)).toEqual({ unchanged: 160 + 6, deleted: gone.length });
    expect(itemsOf(result!)).toEqual(
      [
        ...gone.map((id) => `${id} deleted undefined`),
        ...Array.from({ length: 6 }, (_, index) => `cus_elsewhere${index} unchanged not_in_account`),
      ].sort(),
    );
  });

  test('whose deletion another request has confirmed since the scan missed it', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 100 } });
    await bench.scan({ requestId: 'before' });
    const [first, second] = bench.simulator.listIds() as [StripeId, StripeId];
    for (const id of [first, second]) bench.simulator.delete(id);
    const state: ScanBench['state'] = {
      ...bench.state,
      async *candidates(...args) {
        await confirmDeleted(bench.mirror, first, { from: new Date(), to: new Date() });
        yield* bench.state.candidates(...args);
      },
    };

    const { result } = await bench.scan({ state });

    expect(sumOf(result)).toBe(100);
    expect(countsOf(result)).toEqual({ unchanged: 98, deleted: 2 });
  });
});

describe('a dry run counts as the real run would', () => {
  const dryScan = (bench: ScanBench, limits = removals) =>
    bench.scan({
      requestId: 'dry',
      mirror: dryRunOf(bench.mirror, { remembers: false }),
      state: volatileScanState(bench.state),
      removals: limits,
    });

  /** Everything that a scan can meet: changed, new, young, gone, of another account (known and not), refused, parts. */
  async function mixed(): Promise<ScanBench> {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 300 } });
    await held(bench, [{ id: 'cus_absent', object: 'customer', created: 1_500_000_000, livemode: false }]);
    await bench.scan({ requestId: 'before' });
    const ids = bench.simulator.listIds();
    const now = bench.simulator.clock.seconds();
    for (const id of ids.slice(0, 12)) bench.simulator.update(id, { name: 'changed' });
    for (const id of ids.slice(20, 29)) bench.simulator.delete(id);
    for (let age = 0; age < 25; age += 1) bench.simulator.create({ created: now - 4 * age });
    bench.simulator.create({ metadata: { 'a\0b': '1' } });
    bench.simulator.create({ description: 'x'.repeat(17 * 1024 * 1024), created: now - 86_400 });
    await held(bench, [
      { id: 'cus_elsewhere', object: 'customer', created: 1_500_000_001, livemode: false },
      { id: 'cus_part_of_nobody', name: 'part' },
      { id: bench.simulator.create().id, name: 'part' },
    ]);
    return bench;
  }

  test('of a scan, whatever the mirror has', async () => {
    const bench = await mixed();

    const dry = await dryScan(bench);
    const { result } = await bench.scan({ removals });

    expect(countsOf(dry.result)).toEqual(countsOf(result));
    expect(itemsOf(dry.result)).toEqual(itemsOf(result));
    expect(countsOf(result)).toEqual({ created: 25, updated: 13, unchanged: 281, deleted: 9, failed: 2 });
  }, 60_000);

  test('of a scan whose removals are held, and of their approval, also where one was interrupted', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 300 } });
    await bench.scan({ requestId: 'before' });
    for (const id of bench.simulator.listIds().slice(0, 120)) bench.simulator.delete(id);
    const limits = { maxRatio: 0.01, maxCount: 100 };

    const dry = await dryScan(bench, limits);
    const { result } = await bench.scan({ requestId: 'held', removals: limits });

    expect(countsOf(dry.result)).toEqual({ unchanged: 180, removalsHeld: 120 });
    expect(countsOf(result)).toEqual(countsOf(dry.result));
    const stop = new AbortController();
    let proven = 0;
    const onProgress = (): void => {
      if ((proven += 1) === 50) stop.abort(stopped());
    };
    await expect(bench.approve('held', { signal: stop.signal, onProgress })).rejects.toThrow('Stopped');
    const dryApproval = await bench.approve('held', {
      mirror: dryRunOf(bench.mirror, { remembers: false }),
      state: readOnlyScanState(bench.state),
    });
    const approval = await bench.approve('held');
    expect(countsOf(approval)).toEqual({ deleted: 120 });
    expect(countsOf(dryApproval)).toEqual(countsOf(approval));
  });

  test('of a batch, whatever its entries are and in whatever order those of one customer come', async () => {
    const { mirror, db } = await openMirror(freshDatabase());
    const take = (into: typeof mirror, batch: readonly object[], at: number) =>
      takeBatch(into, batch, insertedAs(at, at));
    const value = fc.constantFrom('a', 'b', null);
    const entry = fc.record({
      id: fc.nat(3).map((number) => `cus_${number}`),
      kind: fc.constantFrom('whole', 'part', 'part', 'deleted', 'live', 'nul'),
      name: value,
      email: value,
    });
    const batchOf = (entries: readonly { id: string; kind: string; name: unknown; email: unknown }[]) =>
      entries.map(({ id, kind, name, email }) => {
        if (kind === 'whole') return { id, object: 'customer', created: 5, livemode: false, name, email };
        if (kind === 'deleted') return { id, deleted: true };
        if (kind === 'live') return { id, livemode: true };
        if (kind === 'nul') return { id, metadata: { '\0': '1' } };
        return email === null ? { id, name } : { id, email };
      });

    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.array(entry, { maxLength: 8 }), fc.integer({ min: 1, max: 9 })), {
          maxLength: 4,
        }),
        async (batches) => {
          await db.collection('stripe_customers').deleteMany({});
          await confirmDeleted(mirror, 'cus_3' as StripeId, seconds(4));
          for (const [entries, at] of batches) {
            const batch = batchOf(entries);
            const before = await db.collection('stripe_customers').find().toArray();

            const dry = await take(dryRunOf(mirror, { remembers: true }), batch, at * 1_000);

            expect(await db.collection('stripe_customers').find().toArray()).toEqual(before);
            const real = await take(mirror, batch, at * 1_000);
            expect(dry).toEqual(real);
            expect(new Set(real.items.map(({ id }) => id)).size).toBe(real.items.length);
          }
        },
      ),
      { numRuns: 150 },
    );
  }, 60_000);
});

const seconds = (at: number) => ({ from: new Date(at * 1_000), to: new Date(at * 1_000 + 10) });
