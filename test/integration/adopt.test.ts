// Moving in to a collection of customers that an application has filled.
import { mongo } from 'mongoose';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { beforeEach, describe, expect, test } from 'vitest';
import { atEnd } from '../support/cleanup.js';
import { callCommandLine } from '../support/cli.js';
import { startDaemon, UserOfQueue } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { openMirror, stripeId } from '../support/mirror.js';

let database: FreshDatabase;
let simulator: StripeSimulator;
/** Customers that Stripe has, too. */
let ids: [string, string, string];

beforeEach(async () => {
  database = freshDatabase();
  simulator = await startSimulator();
  atEnd(() => simulator.close());
  const create = (): string => simulator.create({ name: 'At Stripe' }).id;
  ids = [create(), create(), create()];
});

interface Stored extends mongo.Document {
  _id: unknown;
}
const customers = () => database.db.collection<Stored>('stripe_customers');
/** Ids are of any type here. */
const stored = (_id: unknown, options: mongo.FindOptions = {}) =>
  customers().findOne({ _id } as mongo.Filter<Stored>, options);
const marker = () => database.db.collection('sync_state').findOne({ _id: 'ownership' as never });
const adopt = (args: string[], typed?: { input: string; isTyped: boolean }) =>
  callCommandLine(['adopt', ...args], { MONGODB_URI: database.uri }, typed);
const adoptJson = async (...args: string[]) => {
  const { code, stdout } = await adopt([...args, '--json']);
  return { code, ...(JSON.parse(stdout) as Record<string, unknown>) };
};

const left = new mongo.ObjectId();
const plan = { name: 'x', balance: mongo.Long.fromNumber(7), whole: new mongo.Double(2) };

/** What an application has there: customers with fields of its own, and documents of another kind. */
async function furnished(): Promise<void> {
  const [first, second, third] = ids;
  await customers().insertMany([
    { _id: first, name: 'Before', plan: 'gold', custom: { seats: 3 }, 'a.b': 1 },
    { _id: second, plan, app: { note: 'mine' }, _sync: 'another tool' },
    { _id: third, name: 'Before', email: null },
    { _id: left, customerId: 'cus_2', created: 1_700_000_000 },
    { _id: 'user-17', email: 'jane@example.com', plan: 'gold' },
    { _id: 4, created: 1_700_000_001 },
    { _id: 'jane@example.com', id: 'jane@example.com', object: 'customer', seats: 2 },
  ]);
}

test('documents of an application are in no read of the mirror that a scan or a proof relies on', async () => {
  const [first] = ids;
  const { mirror } = await openMirror(database);
  await customers().insertMany([
    { _id: left, created: 5 },
    { _id: 7, created: 6 },
    { _id: new mongo.ObjectId() },
    { _id: 'user-17', created: 7 },
    { _id: first, created: 8 },
  ]);
  const { signal } = new AbortController();
  const heads: unknown[] = [];
  for await (const batch of mirror.heads({ gte: 0 }, signal)) heads.push(...batch.map(({ id }) => id));
  const undated: unknown[] = [];
  for await (const id of mirror.withoutCreated(signal)) undated.push(id);

  expect(heads).toEqual(['user-17', first]);
  expect(undated).toEqual([]);
  expect(await mirror.suspects([stripeId('user-17'), stripeId(first)])).toEqual([first]);
  expect(await mirror.samples(10)).toEqual({ isEmpty: true, read: [], told: [] });
  expect(await mirror.countLive()).toBe(2);
});

describe('adopt', () => {
  test('with --dry-run tells counts and names of fields, no values, and writes nothing', async () => {
    await furnished();
    const before = await customers().find({}, { promoteValues: false }).toArray();

    const told = await adoptJson('--dry-run');
    const text = await adopt(['--dry-run']);

    expect(told).toMatchObject({
      code: 0,
      dryRun: true,
      moved: 3,
      kept: 1,
      conflict: 0,
      left: 3,
      fields: { plan: 2, custom: 1, 'a.b': 1, _sync: 1, seats: 1 },
      isOurs: false,
    });
    expect((told as never as { samples: object }).samples).toMatchObject({
      left: [{ _id: 4 }, { _id: 'user-17' }, { _id: { $oid: left.toHexString() } }],
    });
    expect(text.stdout).toContain('plan (2)');
    expect(text.stdout).toContain('Nothing was written');
    expect(text.stdout).not.toMatch(/gold|Before|another tool/);
    expect(await customers().find({}, { promoteValues: false }).toArray()).toEqual(before);
    expect(await database.db.listCollections().toArray()).toHaveLength(1);
  });

  test('moves unknown fields under app with their types, and a daemon goes on from there', async () => {
    await furnished();
    const others = { _id: { $in: [left, 'user-17', 4] } } as never;
    const before = await customers().find(others).sort({ _id: 1 }).toArray();
    const [first, second, third] = ids;

    expect(await adoptJson('--yes')).toMatchObject({ code: 0, moved: 3, left: 3, isOurs: true });

    const raw = await stored(second, { promoteValues: false });
    expect(raw).toEqual({ _id: second, app: { plan, _sync: 'another tool', note: 'mine' } });
    expect(await adoptJson('--yes')).toMatchObject({ code: 0, moved: 0, kept: 4, left: 3, isOurs: true });

    const daemon = startDaemon(database, simulator);
    await daemon.ready();
    const user = new UserOfQueue(database.db);
    const scans = [await user.run({ command: 'syncAll' }), await user.run({ command: 'syncAll' })];
    const samples = await daemon.samples();

    expect(scans).toMatchObject([
      { status: 'succeeded', result: { updated: 3 } },
      { status: 'succeeded', result: { unchanged: 3 } },
    ]);
    expect(await stored(first)).toMatchObject({
      name: 'At Stripe',
      app: { plan: 'gold', custom: { seats: 3 }, 'a.b': 1 },
    });
    expect(await stored(first)).not.toHaveProperty('plan');
    expect(await stored(third)).toMatchObject({ _sync: { source: 'list' } });
    expect(await customers().find(others).sort({ _id: 1 }).toArray()).toEqual(before);
    // Two are an application's own by their ids; the one with a text as its id is counted.
    expect(samples.get('stripe_sync_mirror_objects{object="customer",state="live"}')).toBe(5);
  });

  test('marks one that Stripe has deleted, and asks for no other that was there', async () => {
    const [gone] = ids;
    await customers().insertMany([
      { _id: gone, created: 5 },
      { _id: 'user-17', created: 6 },
      { _id: 'user-18' },
      { _id: left },
    ]);
    await adoptJson('--yes');
    simulator.delete(gone);
    const daemon = startDaemon(database, simulator);
    await daemon.ready();

    const scan = await new UserOfQueue(database.db).run({ command: 'syncAll' });

    expect(scan).toMatchObject({ status: 'succeeded', result: { created: 2, deleted: 1 } });
    const retrieved = simulator.requests.filter(({ endpoint }) => endpoint === 'GET /v1/customers/{id}');
    expect(retrieved.map(({ url }) => url)).toEqual([expect.stringContaining(gone)]);
    expect(await stored('user-17')).toEqual({ _id: 'user-17', created: 6 });
  });

  test('overwrites nothing under app: a conflict is listed, left, and keeps the collection from being ours', async () => {
    const [first, second, third] = ids.toSorted();
    const clashing = { _id: first, plan: 'gold', app: { plan: 'silver' } };
    const text = { _id: second, plan: 'gold', app: 'text' };
    await customers().insertMany([clashing, text, { _id: third, plan: 'gold', app: { plan: 'gold' } }]);

    const told = await adoptJson('--yes');

    expect(told).toMatchObject({
      code: 1,
      moved: 1,
      conflict: 2,
      samples: {
        conflict: [
          { _id: first, fields: ['plan'] },
          { _id: second, fields: ['plan'] },
        ],
      },
      isOurs: false,
    });
    expect(await stored(first)).toEqual(clashing);
    expect(await stored(second)).toEqual(text);
    expect(await stored(third)).toEqual({ _id: third, app: { plan: 'gold' } });
    expect(await marker()).toBeNull();
    expect((await adopt(['--yes'])).stdout).toContain('The collection is not ours yet');
    await customers().updateMany({ _id: { $in: [first, second] } } as never, { $unset: { plan: '' } });
    expect(await adoptJson('--yes')).toMatchObject({ code: 0, isOurs: true });
  });

  test('goes through more documents than one batch, with ids of every type, each once', async () => {
    const many = Array.from({ length: 1_203 }, (_, index) => ({
      _id: index % 3 === 0 ? `cus_${index}` : index % 3 === 1 ? index : new mongo.ObjectId(),
      plan: index,
    }));
    await customers().insertMany(many);

    expect(await adoptJson('--yes')).toMatchObject({ code: 0, moved: 401, left: 802, kept: 0 });

    expect(await customers().countDocuments({ 'app.plan': { $exists: true } })).toBe(401);
    expect(await customers().countDocuments({ plan: { $exists: true } })).toBe(802);
  });

  test('asks on a terminal, and changes nothing without a yes', async () => {
    await furnished();
    const before = await customers().find().toArray();

    expect(await adopt([], { input: 'no\n', isTyped: true })).toMatchObject({ code: 1 });
    expect(await customers().find().toArray()).toEqual(before);
    expect(await marker()).toBeNull();
    expect(await adopt([])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('give --yes') as string,
    });
    expect(await adopt(['--yes', '--dry-run'])).toMatchObject({ code: 2 });
    expect(await adopt([], { input: 'y\n', isTyped: true })).toMatchObject({ code: 0 });
    expect((await marker())?.['collections']).toContain('stripe_customers');
  });

  test('does not help where the requests are those of another application', async () => {
    await furnished();
    await database.db.collection('sync_requests').insertOne({ type: 'email' });

    const { code, stderr } = await adopt(['--yes']);

    expect(code).toBe(1);
    expect(stderr).toContain('sync_requests in the database');
    expect(await customers().countDocuments({ app: { $exists: true } })).toBe(1);
    expect(await marker()).toBeNull();
  });
});
