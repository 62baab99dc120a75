// Batches against what Stripe has said: one that was inserted after a read is applied, one that tells of a time before the last complete
// scan, or before the read that changed the customer, is not.
import { beforeAll, describe, expect, test } from 'vitest';
import { mongoTime } from '../../src/mongo/clock.js';
import { syncByIds } from '../../src/sync/by-ids.js';
import type { ItemResult } from '../../src/sync/outcome.js';
import type { StripeId } from '../../src/sync/ports.js';
import { freshDatabase } from '../support/database.js';
import { datedAs, insertedAs, stripeId, takeBatch } from '../support/mirror.js';
import { openScanBench, type ScanBench } from '../support/scan.js';
import { until } from '../support/until.js';

const daysMs = 86_400_000;
let place = 0;
const { signal } = new AbortController();
const read = (bench: ScanBench, ids: readonly string[]) =>
  syncByIds(bench.source, bench.mirror, ids.map(stripeId), { signal, concurrency: 4 });

/** A batch that is inserted now, on MongoDB's clock. */
async function insertNow(bench: ScanBench, entries: readonly object[]): Promise<readonly ItemResult[]> {
  const told = insertedAs((place += 1), (await mongoTime(bench.db)).getTime());
  return (await takeBatch(bench.mirror, entries, told, { scans: bench.state })).items;
}

/** A batch that is inserted now and says that it was true then. */
async function insertDated(
  { mirror, state }: ScanBench,
  entries: readonly object[],
  at: Date | number,
): Promise<readonly ItemResult[]> {
  const told = datedAs((place += 1), new Date(at).getTime());
  return (await takeBatch(mirror, entries, told, { scans: state })).items;
}

const threeDaysAgo = (): number => Date.now() - 3 * daysMs;
const staleFor = (ids: readonly string[], code: string): object[] =>
  ids.map((id) => ({ id, outcome: 'stale', code }));
const fieldsOf = async (bench: ScanBench, id: string): Promise<Record<string, unknown>> => {
  const { _id, _sync, ...fields } = (await bench.stored(id)) ?? {};
  return fields;
};

describe('a batch that is inserted right after a read has ended', () => {
  let bench: ScanBench;
  beforeAll(async () => {
    bench = await openScanBench(freshDatabase());
  });

  /** MongoDB's clock counts in milliseconds: waits for the one after the write. */
  const nextMillisecond = (id: string) =>
    until(
      async () => {
        const stored = (await bench.stored(id)) as { _sync: { writtenAt: Date } };
        return (await mongoTime(bench.db)) > stored._sync.writtenAt;
      },
      { what: 'the millisecond after the write', timeoutMs: 10_000 },
    );

  test.each<[string, (id: string) => Promise<unknown>]>([
    ['created the customer', (id) => read(bench, [id])],
    [
      'changed the customer',
      async (id) => {
        await read(bench, [id]);
        bench.simulator.update(id, { name: 'by Stripe' });
        expect(await read(bench, [id])).toMatchObject({ updated: 1 });
      },
    ],
    [
      'found it unchanged',
      async (id) => {
        await read(bench, [id]);
        expect(await read(bench, [id])).toMatchObject({ unchanged: 1 });
      },
    ],
  ])('that %s is applied, whole and as a part', async (_what, before) => {
    for (const entryOf of [(held: object) => held, ({ id }: { id?: string }) => ({ id })]) {
      for (let round = 0; round < 10; round += 1) {
        const { id } = bench.simulator.create({ name: 'before' });
        await before(id);
        await nextMillisecond(id);

        const items = await insertNow(bench, [
          { ...entryOf(bench.simulator.get(id)!), name: 'of the batch' },
        ]);

        expect(items).toEqual([{ id, outcome: 'updated' }]);
        expect(await fieldsOf(bench, id)).toMatchObject({ name: 'of the batch' });
      }
    }
  });
});

describe('a batch that tells of a time before the read that changed the customer', () => {
  test('is stale, whole and as a part', async () => {
    const bench = await openScanBench(freshDatabase());
    const { id } = bench.simulator.create({ name: 'before' });
    await read(bench, [id]);
    const between = await mongoTime(bench.db);
    const held = bench.simulator.get(id)!;
    await until(async () => (await bench.clock.interval()).earliest.getTime() > between.getTime(), {
      what: 'a later moment',
      timeoutMs: 10_000,
    });
    bench.simulator.update(id, { name: 'after' });
    await read(bench, [id]);
    const before = await bench.stored(id);

    const items = [
      ...(await insertDated(bench, [held], between)),
      ...(await insertDated(bench, [{ id, name: 'before', delinquent: true }], between)),
    ];

    expect(items).toEqual(staleFor([id, id], 'older_than_read'));
    expect(await bench.stored(id)).toEqual(before);
  });
});

describe('a batch that tells of a time before the last complete scan', () => {
  test('is stale, also where scan, read by id and batch have found everything unchanged since', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 20 } });
    const ids = bench.simulator.listIds();
    await bench.scan({ requestId: 'long ago' });
    await bench.scan();
    await read(bench, ids);
    const held = ids.map((id) => bench.simulator.get(id)!);
    await insertNow(bench, held);
    const before = await bench.db.collection('stripe_customers').find().sort({ _id: 1 }).toArray();

    const wholes = held.map((customer) => ({ ...customer, delinquent: true }));
    const parts = ids.map((id) => ({ id, delinquent: true }));

    expect(await insertDated(bench, wholes, threeDaysAgo())).toEqual(staleFor(ids, 'older_than_scan'));
    expect(await insertDated(bench, parts, threeDaysAgo())).toEqual(staleFor(ids, 'older_than_scan'));
    expect(await bench.db.collection('stripe_customers').find().sort({ _id: 1 }).toArray()).toEqual(before);
    expect(await bench.differences()).toEqual([]);
  });

  test('does not create a customer that the scan would have found', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 5 } });
    const { id } = bench.simulator.create();
    const held = bench.simulator.get(id)!;
    bench.simulator.delete(id);
    await bench.scan();

    expect(await insertDated(bench, [held], threeDaysAgo())).toEqual(staleFor([id], 'older_than_scan'));

    expect(await bench.stored(id)).toBeUndefined();
  });

  test('is stale without a date, too, where it was inserted before that scan and is worked on after it', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 5 } });
    const [id] = bench.simulator.listIds() as [string];
    await bench.scan({ requestId: 'first' });
    const told = insertedAs((place += 1), (await mongoTime(bench.db)).getTime());
    const held = { ...bench.simulator.get(id), name: 'Y' };
    await until(async () => (await bench.clock.interval()).earliest > told.to, {
      what: 'a later moment',
      timeoutMs: 10_000,
    });
    await bench.scan({ requestId: 'second' });

    const { items } = await takeBatch(bench.mirror, [held], told, { scans: bench.state });

    expect(items).toEqual(staleFor([id], 'older_than_scan'));
  });

  test.each([
    ['a whole', { object: 'customer', created: 5 }],
    ['a part', {}],
  ])('is stale for a customer that the mirror does not have, told by %s', async (_what, fields) => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 5 } });
    await bench.scan();

    const items = await insertDated(bench, [{ id: 'cus_gone', name: 'Y', ...fields }], threeDaysAgo());

    expect(items).toEqual(staleFor(['cus_gone'], 'older_than_scan'));
    expect((await bench.mirror.headsOf(['cus_gone' as StripeId])).size).toBe(0);
  });

  test('is applied where it tells of a time since that scan began', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 5 } });
    const [id] = bench.simulator.listIds() as [string];
    await bench.scan();
    const { from } = (await bench.state.lastComplete())!;

    const [before] = await insertDated(bench, [{ id, name: 'Y' }], from.getTime() - 1);
    await bench.db.collection<{ _id: string }>('stripe_customers').updateOne({ _id: id }, [
      // As if it had been mirrored long ago, and found unchanged by the scan.
      { $set: { '_sync.observed': { from: new Date(1), to: new Date(2) }, '_sync.writtenAt': new Date(2) } },
    ]);
    const [since] = await insertDated(bench, [{ id, name: 'Y' }], from);

    expect(before).toMatchObject({ outcome: 'stale', code: 'older_than_scan' });
    expect(since).toEqual({ id, outcome: 'updated' });
  });

  test('is applied to customers of a test clock, which scans do not list', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 5 } });
    const at = threeDaysAgo();
    const stored = bench.simulator.create({ test_clock: 'clock_1', name: 'X' });
    const told = bench.simulator.create({ test_clock: 'clock_1', name: 'X' });
    await insertDated(bench, [stored], at);
    await bench.scan();

    const items = await insertDated(
      bench,
      [
        { id: stored.id, name: 'Y' },
        { ...told, name: 'Y' },
      ],
      at + 1_000,
    );

    expect(items.map(({ id, outcome }) => [id, outcome]).sort()).toEqual(
      [
        [stored.id, 'updated'],
        [told.id, 'created'],
      ].sort(),
    );
  });

  test('is applied to an id that Stripe does not know in this account', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 5 } });
    const at = threeDaysAgo();
    const id = 'cus_elsewhere';
    await insertDated(bench, [{ id, object: 'customer', created: 1_700_000_000, name: 'X' }], at);
    await bench.scan({ requestId: 'asks for it' });
    await bench.scan({ requestId: 'remembers it' });

    expect(await insertDated(bench, [{ id, name: 'Y' }], at + 1_000)).toEqual([{ id, outcome: 'updated' }]);
  });

  test('is applied to a customer that the scan left out, as MongoDB could not store it', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 5 } });
    const created = bench.simulator.clock.seconds() - 3_600;
    const { id } = bench.simulator.create({ created, metadata: { 'a\0b': '1' } });
    const report = await bench.scan();
    expect(report.result).toMatchObject({ failed: 1, items: [{ id, code: 'unstorable_key' }] });
    const held = { ...bench.simulator.get(id), metadata: {} };

    expect(await insertDated(bench, [held], threeDaysAgo())).toEqual([{ id, outcome: 'created' }]);
  });

  test('is applied to a customer whose `created` is not known', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 5 } });
    const at = threeDaysAgo();
    const id = 'cus_part';
    await insertDated(bench, [{ id, name: 'X' }], at);
    await bench.scan();

    expect(await insertDated(bench, [{ id, name: 'Y' }], at + 1_000)).toEqual([{ id, outcome: 'updated' }]);
  });

  test('is applied while no scan was complete: one that fails does not count', async () => {
    const bench = await openScanBench(
      freshDatabase(),
      { seed: { count: 300 } },
      { callDeadlineMs: 2_000, attemptTimeoutMs: 1_500 },
    );
    const fault = bench.simulator.fault({
      kind: 'status',
      status: 500,
      path: '/v1/customers?',
      times: Infinity,
      skip: 2,
    });
    await expect(bench.scan({ listsAtOnce: 1 })).rejects.toMatchObject({ kind: 'retryable' });
    fault.remove();
    const ids = bench.simulator.listIds() as StripeId[];
    const missing = ids.filter((id) => id === ids.at(-1));
    expect((await bench.mirror.headsOf(missing)).size).toBe(0);

    const items = await insertDated(bench, [bench.simulator.get(missing[0]!)!], threeDaysAgo());

    expect(items).toEqual([{ id: missing[0], outcome: 'created' }]);
  });

  test('is measured by the scan before while removals are held, and by the held one once they are approved', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 300 } });
    await bench.scan({ requestId: 'first' });
    const first = (await bench.state.lastComplete())!;
    const [kept] = bench.simulator.listIds().slice(-1) as [string];
    for (const id of bench.simulator.listIds().slice(0, 150)) bench.simulator.delete(id);
    const between = await mongoTime(bench.db);
    await until(async () => (await bench.clock.interval()).earliest > between, {
      what: 'a later moment',
      timeoutMs: 10_000,
    });
    await bench.scan({ requestId: 'second' });

    expect(await bench.state.lastComplete()).toEqual(first);
    expect(await insertDated(bench, [{ id: kept, phone: '1' }], between)).toEqual([
      { id: kept, outcome: 'updated' },
    ]);
    await bench.approve('second');

    expect((await bench.state.lastComplete())!.from.getTime()).toBeGreaterThan(between.getTime());
    expect(await insertDated(bench, [{ id: kept, phone: '2' }], between)).toEqual(
      staleFor([kept], 'older_than_scan'),
    );
  });
});
