// Customers that the caller already holds: what of a batch is taken, what it may not do, and which read wins.
import mongoose, { mongo } from 'mongoose';
import { beforeAll, describe, expect, test } from 'vitest';
import { startSimulator } from 'stripe-simulator';
import { createLogger } from '../../src/base/logger.js';
import { resolveConfig } from '../../src/config/load.js';
import { StripeCustomerAction } from '../../src/index.js';
import { runnerOf } from '../../src/operations.js';
import { openServices } from '../../src/services.js';
import { confirmDeleted } from '../../src/sync/deletion.js';
import { type ItemResult, partialResultOf } from '../../src/sync/outcome.js';
import type { Mirror } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase, ours } from '../support/database.js';
import {
  answered,
  datedAs,
  insertedAs,
  openMirror,
  stripeId,
  takeBatch,
  type TestMirror,
} from '../support/mirror.js';
import { quickRunner, requestsLab } from '../support/requests.js';
import { openScanBench } from '../support/scan.js';

const database = freshDatabase();
let m: TestMirror;

beforeAll(async () => {
  m = await openMirror(database);
});

let next = 0;
const newId = (): string => `cus_${(next += 1)}`;
const whole = (id: string, fields: object = {}): object => ({
  id,
  object: 'customer',
  created: 1_700_000_000,
  livemode: false,
  ...fields,
});

let batches = 0;
/** Takes the entries as a batch that says it was true then, milliseconds on MongoDB's clock. */
async function take(entries: readonly unknown[], at = 1_000, into = m): Promise<readonly ItemResult[]> {
  return (await takeBatch(into.mirror, entries, datedAs((batches += 1), at))).items;
}

const outcomesOf = (items: readonly ItemResult[]): string[] => items.map(({ outcome }) => outcome);

/** The mirror, with a word on each write when it is done: 1, 2, … */
function withWrites(told: (count: number) => unknown): Mirror {
  let count = 0;
  return {
    ...m.mirror,
    write: async (writes) => {
      const written = await m.mirror.write(writes);
      told((count += 1));
      return written;
    },
  };
}

/** What the caller held, out of the stored document. */
async function fieldsOf(id: string): Promise<Record<string, unknown> | undefined> {
  const stored = await m.stored(id);
  if (!stored) return undefined;
  const { _id, _sync, ...fields } = stored;
  return fields;
}

test.each<[string, number, (stop: AbortController) => void]>([
  ['is cancelled', 1, (stop) => stop.abort(new Error('stopped'))],
  [
    'meets a fault',
    2,
    () => {
      throw new Error('stopped');
    },
  ],
])('a batch that %s tells what it had done until then', async (_name, atWrite, strike) => {
  const stop = new AbortController();
  const mirror = withWrites((count) => count === atWrite && strike(stop));
  const entries = [{ id: '' }, ...Array.from({ length: 700 }, () => whole(newId()))];
  const batch = takeBatch(mirror, entries, insertedAs(1, 1_000), { signal: stop.signal });

  const error: unknown = await batch.catch((thrown: unknown) => thrown);

  expect(error).toMatchObject({ message: 'stopped' });
  expect(partialResultOf(error)).toMatchObject({ created: 500, failed: 1 });
});

describe('an entry', () => {
  test.each<[string, (id: string) => unknown, string]>([
    ['says that it is deleted', (id) => ({ id, object: 'customer', deleted: true }), 'deletion_unverified'],
    ['is a part and says that it is deleted', (id) => ({ id, deleted: true }), 'deletion_unverified'],
    ['is live in test mode', (id) => whole(id, { livemode: true }), 'wrong_mode'],
    ['is a part and live in test mode', (id) => ({ id, livemode: true }), 'wrong_mode'],
    ['is another object', (id) => whole(id, { object: 'charge' }), 'invalid_object'],
    ['has no object', (id) => whole(id, { object: null }), 'invalid_object'],
    ['was created in words', (id) => whole(id, { created: '2024-01-01' }), 'invalid_object'],
    ['was created at no whole second', (id) => ({ id, created: 1.5 }), 'invalid_object'],
    ['was created before time', (id) => ({ id, created: -1 }), 'invalid_object'],
    ['was created at a date', (id) => ({ id, created: new Date() }), 'invalid_object'],
    ['has an empty id', () => whole(''), 'invalid_object'],
    ['has an id with NUL', (id) => whole(`${id}\0`), 'invalid_object'],
    ['has an id of 256 characters', () => whole('x'.repeat(256)), 'invalid_object'],
    ['has an id that is no text', () => whole('a\ud800'), 'invalid_object'],
    ['has an id that is an operator', () => ({ id: { $gt: '' } }), 'invalid_object'],
    ['has no id', () => ({ object: 'customer', name: 'Jane' }), 'invalid_object'],
    ['is null', () => null, 'invalid_object'],
    ['is a text', (id) => id, 'invalid_object'],
    ['is a list', (id) => [whole(id)], 'invalid_object'],
  ])('that %s is refused, and the others are taken', async (_what, entryFor, code) => {
    const [id, other] = [newId(), newId()];
    const before = await m.db.collection('stripe_customers').countDocuments();

    const items = await take([entryFor(id), whole(other)]);

    expect(items.find(({ outcome }) => outcome === 'failed')).toMatchObject({ code });
    expect(items.find((item) => item.id === other)).toEqual({ id: other, outcome: 'created' });
    expect(await m.db.collection('stripe_customers').countDocuments()).toBe(before + 1);
  });

  test('that is refused leaves what is stored alone', async () => {
    const id = newId();
    await take([whole(id, { name: 'Jane' })]);
    const before = await m.stored(id);

    await take(
      [{ id, deleted: true }, whole(id, { livemode: true }), whole(id, { object: 'charge' })],
      2_000,
    );

    expect(await m.stored(id)).toEqual(before);
  });

  test('is refused without a word of what is in it', async () => {
    const items = await take([
      { id: 'jane@example.com\0', name: 'Jane Doe' },
      whole(newId(), { created: 'Jane Doe', object: 'Jane Doe' }),
    ]);

    expect(outcomesOf(items)).toEqual(['failed', 'failed']);
    expect(JSON.stringify(items)).not.toMatch(/jane/i);
    expect(items.map(({ message }) => message)).toEqual([
      'Entry 1 is not a customer of Stripe: id',
      expect.stringMatching(/^Entry 2 is not a customer of Stripe: created/),
    ]);
  });

  test('that is whole replaces what is stored, but for the fields of the application and a mark of deletion', async () => {
    const id = newId();
    await take([whole(id, { name: 'Jane', metadata: { a: '1', b: '2' }, phone: null })]);
    const marks = { '_sync.deletedAt': new Date(1_500), '_sync.deletedBy': 'request' };
    await m.db
      .collection<{ _id: string }>('stripe_customers')
      .updateOne({ _id: id }, { $set: { app: { plan: 'gold' }, ...marks } });

    expect(outcomesOf(await take([whole(id, { metadata: { b: '3' } })], 2_000))).toEqual(['updated']);

    expect(await fieldsOf(id)).toEqual({ ...whole(id, { metadata: { b: '3' } }), app: { plan: 'gold' } });
    expect(await m.stored(id)).toMatchObject({
      _sync: { source: 'batch', deletedAt: new Date(1_500), deletedBy: 'request' },
    });
  });

  test('that is a part is merged at the top level, and drops the hash', async () => {
    const id = newId();
    await take([whole(id, { name: 'Jane', metadata: { a: '1', b: '2' } })]);
    expect((await m.stored(id))?.['_sync']).toHaveProperty('hash');

    expect(outcomesOf(await take([{ id, metadata: { c: '3' }, balance: 5 }], 2_000))).toEqual(['updated']);

    expect(await fieldsOf(id)).toEqual(whole(id, { name: 'Jane', metadata: { c: '3' }, balance: 5 }));
    expect((await m.stored(id))?.['_sync']).not.toHaveProperty('hash');
  });

  test('that is a part of nobody stored creates what it tells', async () => {
    const id = newId();

    expect(await take([{ id, name: 'Jane' }])).toEqual([{ id, outcome: 'created' }]);

    expect(await fieldsOf(id)).toEqual({ id, name: 'Jane' });
  });

  test.each([
    ['a part', (id: string) => ({ id, metadata: { a: '1' } })],
    ['whole', (id: string) => whole(id, { metadata: { a: '1' } })],
  ])(
    'that is %s and tells nothing new leaves all fields and the hash, and is known by its order',
    async (_what, entryFor) => {
      const id = newId();
      await take([whole(id, { metadata: { a: '1' } })]);
      const before = await m.stored(id);

      expect(await take([entryFor(id)], 2_000)).toEqual([{ id, outcome: 'unchanged' }]);

      expect(await fieldsOf(id)).toEqual(whole(id, { metadata: { a: '1' } }));
      const { _sync: sync } = (await m.stored(id)) ?? {};
      const { _sync: syncBefore } = before ?? {};
      expect(sync).toMatchObject({ hash: (syncBefore as { hash: string }).hash, source: 'batch' });
      const older = { metadata: { a: '2' } };
      expect(await take([{ id, ...older }], 1_500)).toEqual([
        { id, outcome: 'stale', code: 'older_than_batch' },
      ]);
    },
  );

  test.each([
    ['a part', (id: string) => ({ id, metadata: { a: '1' } })],
    ['whole', (id: string) => whole(id, { metadata: { a: '1' } })],
  ])('that is %s, taken a second time with its batch, writes nothing', async (_what, entryFor) => {
    const id = newId();
    const told = insertedAs(1, 2_000);
    await takeBatch(m.mirror, [entryFor(id)], told);
    const before = await m.stored(id);

    expect((await takeBatch(m.mirror, [entryFor(id)], told)).items).toEqual([{ id, outcome: 'unchanged' }]);

    expect(await m.stored(id)).toEqual(before);
  });

  test.each([
    ['a part', (id: string) => ({ id, name: 'Old' })],
    ['whole', (id: string) => whole(id, { name: 'Old' })],
  ])(
    'that is %s and older than what is stored, or may be, is stale and says which',
    async (_what, entryFor) => {
      const id = newId();
      await m.read(whole(id, { name: 'New' }), 5_000, 5_100);
      const before = await m.stored(id);

      for (const [at, code] of [
        [1_000, 'older_than_read'],
        [4_999, 'older_than_read'],
        [5_000, 'order_unknown'],
        [5_099, 'order_unknown'],
      ] as const) {
        expect(await take([entryFor(id)], at)).toEqual([{ id, outcome: 'stale', code }]);
      }
      expect(await m.stored(id)).toEqual(before);
      expect(outcomesOf(await take([entryFor(id)], 5_100))).toEqual(['updated']);
    },
  );

  test.each([
    ['a part', (id: string) => ({ id, name: 'Back' })],
    ['whole', (id: string) => whole(id, { name: 'Back' })],
  ])('that is %s revives nobody whose deletion Stripe has confirmed', async (_what, entryFor) => {
    const id = newId();
    await m.read(whole(id, { name: 'Jane' }), 1_000);
    await confirmDeleted(m.mirror, stripeId(id), answered(2_000, 2_010).observed);
    const before = await m.stored(id);

    expect(await take([entryFor(id)], 9_000)).toEqual([{ id, outcome: 'stale', code: 'deleted_in_stripe' }]);

    expect(await m.stored(id)).toEqual(before);
    expect(before).toMatchObject({ name: 'Jane', _sync: { deletedBy: 'stripe' } });
  });

  test('cannot write what is ours or the application’s', async () => {
    const id = newId();
    await m.read(whole(id), 1_000);
    await m.db
      .collection<{ _id: string }>('stripe_customers')
      .updateOne({ _id: id }, { $set: { app: 'theirs' } });
    const forged = { _id: 'cus_other', _sync: { deletedBy: 'stripe', hash: 'forged' }, app: 'forged' };

    expect(
      outcomesOf(
        await take([{ id, name: 'Part', ...forged }, whole(id, { name: 'Whole', ...forged })], 2_000),
      ),
    ).toEqual(['updated']);

    const stored = await m.stored(id);
    expect(stored).toMatchObject({ _id: id, name: 'Whole', app: 'theirs' });
    expect(stored?.['_sync']).not.toHaveProperty('deletedBy');
    expect(stored?.['_sync']).not.toMatchObject({ hash: 'forged' });
    expect(await m.stored('cus_other')).toBeUndefined();
  });

  test('is data in every key and value, never a path or an expression', async () => {
    const id = newId();
    const odd = JSON.parse(
      '{"$set":"$name","a.b":"$$ROOT","":{"$literal":1},"__proto__":{"x":"$_id"}}',
    ) as object;
    await take([whole(id, { name: 'Jane' })]);

    await take([{ ...{ id }, metadata: odd, description: '$name' }], 2_000);

    const stored = await fieldsOf(id);
    expect(stored).toEqual(whole(id, { name: 'Jane', metadata: odd, description: '$name' }));
    expect(Object.keys(stored?.['metadata'] as object)).toContain('__proto__');
  });
});

test('several entries of one customer follow each other in their order, and it counts once', async () => {
  const [id, other] = [newId(), newId()];

  const items = await take([
    { id, name: 'First', phone: '1' },
    whole(other),
    whole(id, { name: 'Second' }),
    { id, name: 'Third' },
    { id, email: null },
  ]);

  expect(items).toHaveLength(2);
  expect(items).toContainEqual({ id, outcome: 'created' });
  expect(items).toContainEqual({ id: other, outcome: 'created' });
  expect(await fieldsOf(id)).toEqual(whole(id, { name: 'Third', email: null }));
});

test('a customer of several entries has failed where one of them failed, and entries without an id count each', async () => {
  const id = newId();

  const items = await take([{ id, name: 'First' }, { id, livemode: true }, { id, name: 'Third' }, {}, {}]);

  expect(items.map((item) => [item.id, item.outcome, item.code])).toEqual([
    [id, 'failed', 'wrong_mode'],
    ['(invalid)', 'failed', 'invalid_object'],
    ['(invalid)', 'failed', 'invalid_object'],
  ]);
  expect(await fieldsOf(id)).toEqual({ id, name: 'Third' });
});

test('the next scan sets right what parts and wholes have made up', async () => {
  const bench = await openScanBench(freshDatabase(), { seed: { count: 250 } });
  await bench.scan();
  const [first, second] = bench.simulator.listIds() as [string, string];
  await take(
    [
      { id: first, name: 'Made up' },
      { ...bench.simulator.get(second), name: 'Made up' },
    ],
    Date.now(),
    bench,
  );
  expect(await bench.differences()).toHaveLength(2);

  const { result } = await bench.scan();

  expect(result).toMatchObject({ updated: 2, unchanged: 248, created: 0, deleted: 0 });
  expect(await bench.differences()).toEqual([]);
});

describe('a batch from the future', () => {
  const tomorrow = new Date(Date.now() + 86_400_000);

  test('counts as held now, however it is said, and gives way to the next read', async () => {
    const own = freshDatabase();
    const simulator = await startSimulator();
    atEnd(() => simulator.close());
    const { id } = simulator.create({ name: 'Stripe' });
    const config = {
      stripe: {
        apiKey: simulator.restrictedKey,
        apiBase: simulator.url,
        callsPerSecond: 0,
        callsPerSecondPerEndpoint: 0,
      },
      mongodb: { uri: own.uri },
    };
    const action = await StripeCustomerAction.connect({ connection: mongoose.createConnection(), config });
    atEnd(() => action.close());
    const services = await openServices({
      config: resolveConfig(config, {}),
      connection: mongoose.createConnection(),
      readKey: undefined,
      logger: createLogger({ level: 'silent', format: 'json' }),
      signal: new AbortController().signal,
    });
    atEnd(() => services.close());
    const lab = requestsLab(own);
    await lab.worker({ runner: runnerOf(services), feed: true });
    const forged = new mongo.ObjectId(mongo.ObjectId.createFromTime(tomorrow.getTime() / 1_000).id);
    const toldFrom = async (): Promise<number> => {
      const stored = await own.db
        .collection<{ _id: string; _sync: { told: { observed: { from: Date } }[] } }>('stripe_customers')
        .findOne({ _id: id });
      return stored?._sync.told[0]?.observed.from.getTime() ?? NaN;
    };
    /** MongoDB's clock now, at the latest that a process may take it to be. */
    const latest = async (): Promise<number> => (await services.clock.interval()).latest.getTime();

    await action.sync({ id, name: 'By the library' }, { observedAt: tomorrow });
    expect(await toldFrom()).toBeLessThanOrEqual(await latest());
    for (const request of [
      { command: 'syncBatch', batch: [{ id, name: 'By its own word' }], observedAt: tomorrow },
      { _id: forged, command: 'syncBatch', batch: [{ id, name: 'By its _id' }] },
    ]) {
      const [inserted] = await lab.insert(request);
      expect(await lab.ended(inserted!)).toMatchObject({ status: 'succeeded', result: { updated: 1 } });
      expect(await toldFrom()).toBeLessThanOrEqual(await latest());
    }

    expect(await action.syncByIds([id])).toMatchObject({ updated: 1 });
    expect(await own.db.collection<{ _id: string }>('stripe_customers').findOne({ _id: id })).toMatchObject({
      name: 'Stripe',
    });
  });
});

describe('a request that is too large', () => {
  const mebibyte = 1024 * 1024;

  test('is refused without being loaded, by its size, and others go on', async () => {
    const own = freshDatabase();
    const lab = requestsLab(own);
    const connection = await mongoose
      .createConnection(own.uri, { bufferCommands: false, monitorCommands: true })
      .asPromise();
    atEnd(() => connection.close());
    const loaded: number[] = [];
    connection.getClient().on('commandSucceeded', ({ reply }: mongo.CommandSucceededEvent) => {
      loaded.push(mongo.BSON.calculateObjectSize(reply as mongo.Document));
    });
    const runner = quickRunner();
    await lab.worker({ runner, database: ours(connection.db!) });
    const entry = (index: number, bytes: number): object => ({ id: `cus_${index}`, name: 'x'.repeat(bytes) });
    const batchOf = (entries: number, bytes: number): object[] =>
      Array.from({ length: entries }, (_, index) => entry(index, bytes));

    const [many, heavy, forged, small] = await lab.insert(
      { command: 'syncBatch', batch: batchOf(1_001, 10) },
      { command: 'syncBatch', batch: batchOf(5, mebibyte) },
      {
        command: 'syncBatch',
        batch: batchOf(15, mebibyte),
        lease: { fence: 7, owner: 'x'.repeat(900 * 1024) },
      },
      { command: 'syncBatch', batch: batchOf(1_000, 10) },
    );

    const faultsOf = async (id: mongo.ObjectId) =>
      (await lab.ended(id))['error'] as { code: string; message: string };
    expect(await faultsOf(many!)).toMatchObject({
      code: 'invalid_request',
      message: 'batch must be a list of 1 to 1000 objects, got a list of 1001',
    });
    for (const [id, found] of [
      [heavy!, 'a list of 5 with \\d{7} bytes'],
      [forged!, 'a list of 15 with \\d{8} bytes'],
    ] as const) {
      expect(await faultsOf(id)).toMatchObject({
        code: 'invalid_request',
        message: expect.stringMatching(
          new RegExp(`^batch must have at most 4194304 bytes, got ${found}$`),
        ) as string,
      });
    }
    expect(await lab.ended(small!)).toMatchObject({ status: 'succeeded' });
    expect(runner.runs).toHaveLength(1);
    expect(Math.max(...loaded)).toBeLessThan(mebibyte);
  });
});
