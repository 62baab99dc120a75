// Whom a scan cannot mirror: each is named as well as can be, counted, warned of and measured.
import { expect, test } from 'vitest';
import type { StripeSimulator } from 'stripe-simulator';
import { readDatabaseStats } from '../../src/status/database-stats.js';
import { startDaemon, UserOfQueue } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase, ours } from '../support/database.js';
import { startStripe } from '../support/library.js';
import { openScanBench } from '../support/scan.js';

/** Stripe's lists with their entries changed. */
const changeLists = (simulator: StripeSimulator, change: (entries: unknown[]) => unknown[]) =>
  simulator.fault({
    kind: 'custom',
    endpoint: 'GET /v1/customers',
    times: Infinity,
    answer: (_call, compute) => {
      const page = JSON.parse(compute().body as string) as { data: unknown[] };
      return { status: 200, body: { ...page, data: change(page.data) } };
    },
  });

const leftOut = async ({ db }: FreshDatabase): Promise<number | undefined> =>
  (await readDatabaseStats(ours(db))).scanLeftOut['customer'];

test('an entry without a usable id is a failed item with its id, if any, its place and its page', async () => {
  const database = freshDatabase();
  const bench = await openScanBench(database, { seed: { count: 150, from: 1_000, to: 2_000 } });
  const cursor = bench.simulator.listIds()[99] ?? '';
  const bad = [null, { object: 'customer' }, { id: 'x'.repeat(256), object: 'customer' }];
  const change = changeLists(bench.simulator, (entries) => {
    if (entries.length !== 50) return entries;
    return [...entries.slice(0, 2), ...bad, { id: 'in_1', object: 'invoice' }, ...entries.slice(2)];
  });
  expect(await leftOut(database)).toBeUndefined();

  const { result } = await bench.scan({ listsAtOnce: 1 });

  expect(result).toMatchObject({ created: 150, failed: 4 });
  const item = (id: string, place: number, why: string) => ({
    id,
    outcome: 'failed',
    code: 'invalid_object',
    message: `Entry ${place} of the page after ${cursor} ${why}`,
  });
  expect(result.items).toEqual([
    item('(invalid)', 3, 'has no usable id'),
    item('(invalid)', 4, 'has no usable id'),
    item('x'.repeat(255), 5, 'has no usable id'),
    item('in_1', 6, 'is another kind of object, or deleted'),
  ]);
  expect(await leftOut(database)).toBe(4);
  change.remove();
  await bench.scan({ requestId: 'again' });
  expect(await leftOut(database)).toBe(0);
});

test('a deleted customer in a list is left out, and the one in the mirror is asked for', async () => {
  const bench = await openScanBench(freshDatabase(), { seed: { count: 3 } });
  await bench.scan();
  const [id = ''] = bench.simulator.listIds();
  const before = await bench.stored(id);
  changeLists(bench.simulator, (entries) =>
    entries.map((entry) =>
      (entry as { id: string }).id === id ? { id, object: 'customer', deleted: true } : entry,
    ),
  );

  const { result } = await bench.scan({ requestId: 'again', removals: { maxRatio: 1, maxCount: 10 } });

  expect(result.items).toMatchObject([{ id, outcome: 'failed', code: 'invalid_object' }]);
  expect(await bench.stored(id)).toEqual(before);
});

test('an entry of a first page is named by the interval that was asked for', async () => {
  const bench = await openScanBench(freshDatabase());
  changeLists(bench.simulator, (entries) => [...entries, { object: 'customer' }]);

  const { result } = await bench.scan({ listsAtOnce: 2 });

  expect(result.items.length).toBeGreaterThan(1);
  for (const { message } of result.items) {
    expect(message).toMatch(
      /^Entry 1 of the first page of those created( from \S+Z)?( before \S+Z)? has no usable id$/,
    );
  }
});

test('customers without a usable `created` are mirrored, counted once, and found deleted', async () => {
  const bench = await openScanBench(freshDatabase(), { seed: { count: 30, from: 1_000, to: 2_000 } });
  const undated = [undefined, null, 'today', -5, 1.5, { $gt: 0 }].map((created, at) => ({
    ...bench.simulator.create({ id: `cus_undated${at}`, created: 1_500 }),
    created,
  }));
  const change = changeLists(bench.simulator, (entries) =>
    (entries as { id: string }[]).map((entry) => undated.find(({ id }) => id === entry.id) ?? entry),
  );
  const changeOne = bench.simulator.fault({
    kind: 'custom',
    endpoint: 'GET /v1/customers/{id}',
    times: Infinity,
    answer: (_call, compute) => {
      const found = JSON.parse(compute().body as string) as { id: string; deleted?: boolean };
      const body = found.deleted ? found : (undated.find(({ id }) => id === found.id) ?? found);
      return { status: 200, body };
    },
  });

  const first = await bench.scan({ listsAtOnce: 1 });
  const asked = bench.simulator.requests.length;
  const second = await bench.scan({ listsAtOnce: 1, requestId: 'second' });

  expect(first.result).toMatchObject({ created: 36, failed: 0, items: [] });
  expect(second.result).toMatchObject({ unchanged: 36, failed: 0, items: [] });
  expect(bench.simulator.requests.slice(asked).map(({ endpoint }) => endpoint)).not.toContain(
    'GET /v1/customers/{id}',
  );
  expect((await bench.mirroredIds()).filter((id) => id.startsWith('cus_undated'))).toHaveLength(6);
  for (const { id } of undated) bench.simulator.delete(id);
  const third = await bench.scan({ listsAtOnce: 1, requestId: 'third' });
  // Nothing tells a customer created at 1.5 s from one that is in an interval.
  expect(third.result).toMatchObject({ deleted: 6, failed: 0 });
  change.remove();
  changeOne.remove();
});

test('the daemon warns of whom its scan left out and of rows out of order, and measures both', async () => {
  const database = freshDatabase();
  const simulator = await startStripe({ seed: { count: 20, from: 1_000, to: 2_000 } });
  simulator.create({ id: 'cus_nul', metadata: { 'a\0b': 'x' } });
  changeLists(simulator, (entries) => (entries.length === 20 ? entries.reverse() : entries));
  const daemon = startDaemon(database, simulator);
  await daemon.ready();
  const user = new UserOfQueue(database.db);

  const request = await user.run({ command: 'syncAll' });

  expect(request).toMatchObject({ status: 'partial', result: { created: 20, failed: 1 } });
  expect((request['result'] as { items: object[] }).items).toMatchObject([
    { id: 'cus_nul', outcome: 'failed', code: 'unstorable_key' },
  ]);
  const samples = await daemon.samples();
  expect(samples.get('stripe_sync_scan_left_out{object="customer"}')).toBe(1);
  expect(samples.get('stripe_sync_scan_disordered_objects_total{object="customer"}')).toBe(19);
  const warnings = daemon.logs().filter(({ level }) => level === 'warn');
  expect(warnings).toContainEqual(
    expect.objectContaining({ failed: 1, msg: expect.stringContaining('could not mirror') as string }),
  );
  expect(warnings).toContainEqual(expect.objectContaining({ disordered: 19 }));
});
