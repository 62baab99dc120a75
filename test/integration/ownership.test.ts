// Whose the collections under our names are. What is there and is not ours is refused before anything is written.
import { mongo } from 'mongoose';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { beforeAll, describe, expect, test } from 'vitest';
import { atEnd } from '../support/cleanup.js';
import { callCommandLine } from '../support/cli.js';
import { startDaemon, UserOfQueue } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { connect, faultOf } from '../support/library.js';
import type { AnyDocument } from '../support/requests.js';

let simulator: StripeSimulator;
beforeAll(async () => {
  simulator = await startSimulator({ seed: { count: 5 } });
  return () => simulator.close();
});

const { ObjectId } = mongo;
type Documents = readonly mongo.Document[];

const plans: Documents = [
  { _id: 'cus_1', plan: 'gold', custom: { seats: 3 } },
  { _id: new ObjectId(), customerId: 'cus_2' },
];
const emails: Documents = [
  { type: 'email', status: 'pending' },
  { type: 'email', status: 'failed', error: { code: 'smtp' } },
];
const commands: Documents = [{ command: 'sendInvoice', status: 'pending', lease: { owner: 'mailer' } }];
const flags: Documents = [{ _id: new ObjectId(), flag: 'x' }];

/** Every document byte by byte, every index, and every collection with its options. */
async function everythingIn({ db }: FreshDatabase): Promise<unknown> {
  const found = (await db.listCollections().toArray()).sort((a, b) => a.name.localeCompare(b.name));
  const plain = found.filter(({ type, name }) => type === 'collection' && !name.startsWith('system.'));
  const contents = await Promise.all(
    plain.map(async ({ name }) => {
      const collection = db.collection(name);
      const documents = await collection.find({}, { raw: true, sort: { _id: 1 } }).toArray();
      const bytes = documents.map((document) =>
        Buffer.from(document as unknown as Uint8Array).toString('hex'),
      );
      return { name, bytes, indexes: await collection.indexes() };
    }),
  );
  return { found, contents };
}

const variablesOf = ({ uri }: FreshDatabase): Record<string, string> => ({
  MONGODB_URI: uri,
  STRIPE_API_KEY: simulator.restrictedKey,
  STRIPE_API_BASE: simulator.url,
});

const migrate = (database: FreshDatabase, env: Record<string, string> = {}) =>
  callCommandLine(['migrate'], { ...variablesOf(database), ...env });

async function databaseWith(name: string, documents: Documents): Promise<FreshDatabase> {
  const database = freshDatabase();
  await database.db.collection(name).insertMany(documents.map((document) => ({ ...document })));
  return database;
}

describe('a collection of somebody else is refused, and nothing is written', () => {
  test.each<[string, Documents, string, string]>([
    ['stripe_customers', plans, '2 in all; the _id of one of these is of type string', 'CUSTOMERS'],
    [
      'stripe_customers',
      plans.slice(1),
      '1 in all; the _id of one of these is of type objectId',
      'CUSTOMERS',
    ],
    ['sync_requests', emails, '2 in all; the _id of one of these is of type objectId', 'REQUESTS'],
    ['sync_requests', commands, '1 in all; the _id of one of these is of type objectId', 'REQUESTS'],
    ['sync_state', flags, '1 in all; the _id of one of these is of type objectId', 'STATE'],
  ])('%s with %j', async (name, documents, what, setting) => {
    const database = await databaseWith(name, documents);
    const before = await everythingIn(database);

    const { code, stderr } = await migrate(database);

    expect(code).toBe(1);
    expect(stderr).toContain(
      `${name} in the database ${database.name} holds documents that stripe-mongo-sync has not`,
    );
    expect(stderr).toContain(what);
    expect(stderr).toContain(`set MONGODB_COLLECTIONS_${setting} to another name, or MONGODB_DATABASE`);
    expect(stderr.includes('stripe-mongo-sync adopt --dry-run')).toBe(name === 'stripe_customers');
    expect(stderr).toContain('Nothing was written');
    expect(stderr).not.toMatch(/gold|cus_|email|sendInvoice/);
    expect(await everythingIn(database)).toEqual(before);
  });

  test('among documents of ours, too', async () => {
    const database = freshDatabase();
    await syncedBy(database);
    await database.db.collection('sync_state').deleteOne({ _id: 'ownership' as never });
    await database.db.collection('stripe_customers').insertOne({ _id: 'cus_theirs' as never, plan: 'gold' });
    const before = await everythingIn(database);

    expect(await migrate(database)).toMatchObject({ code: 1 });

    expect(await everythingIn(database)).toEqual(before);
  });

  test('by a sample, where looking at all documents takes too long', async () => {
    const theirs = await databaseWith('stripe_customers', plans);
    const own = freshDatabase();
    await syncedBy(own);
    await own.db.collection('sync_state').deleteOne({ _id: 'ownership' as never });
    for (const [database, code] of [
      [theirs, 1],
      [own, 0],
    ] as const) {
      const namespace = `${database.name}.stripe_customers`;
      const maxTimeExpired = { failCommands: ['find'], namespace, errorCode: 50 };
      const failpoint = await database.failCommand(maxTimeExpired);

      expect(await migrate(database)).toMatchObject({ code });

      expect(await failpoint.timesEntered()).toBe(1);
      await failpoint.off();
    }
  });

  test('by the daemon, the library and commands in this process, whether they may create or not', async () => {
    const database = await databaseWith('stripe_customers', plans);
    const before = await everythingIn(database);
    for (const MONGODB_AUTO_MIGRATE of ['true', 'false']) {
      const daemon = startDaemon(database, simulator, { MONGODB_AUTO_MIGRATE });
      expect((await daemon.exit).code).toBe(1);
      expect(daemon.errors()).toMatchObject([{ level: 'fatal' }]);
      expect(JSON.stringify(daemon.errors())).toMatch(/foreign_collection.*stripe_customers in the database/);

      const typed = await callCommandLine(['sync-all', '--in-process'], {
        ...variablesOf(database),
        MONGODB_AUTO_MIGRATE,
      });
      expect(typed).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('stripe_customers in the') as string,
      });
    }
    const fault = await faultOf(connect(database, simulator));
    expect(fault).toMatchObject({ code: 'foreign_collection', kind: 'fatal' });
    expect(await everythingIn(database)).toEqual(before);
  });

  test('by commands that insert or change requests, and by bind --reset', async () => {
    const failed = new ObjectId();
    const database = await databaseWith('sync_requests', [...emails, { _id: failed, status: 'failed' }]);
    const before = await everythingIn(database);
    const typed = (...args: string[]) => callCommandLine(args, { MONGODB_URI: database.uri });

    const refused = [
      await typed('sync-all', '--no-wait'),
      await typed('requests', 'retry', '--failed'),
      await typed('requests', 'retry', failed.toHexString()),
      await typed('requests', 'cancel', failed.toHexString()),
      await typed('bind', '--reset', '--yes'),
    ];

    for (const each of refused) {
      expect(each).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('sync_requests in the') as string,
      });
    }
    expect(await everythingIn(database)).toEqual(before);
  });

  test('all at once, where several are', async () => {
    const database = await databaseWith('stripe_customers', plans);
    await database.db.collection('sync_requests').insertMany(emails.map((each) => ({ ...each })));

    const { stderr } = await migrate(database);

    expect(stderr).toMatch(/^error: stripe_customers in .*\. sync_requests in .*\. Nothing was written$/s);
  });

  test('and other names go on', async () => {
    const database = await databaseWith('stripe_customers', plans);

    const { code } = await migrate(database, { MONGODB_COLLECTIONS_CUSTOMERS: 'crm_customers' });

    expect(code).toBe(0);
    expect(await database.db.collection('stripe_customers').find().toArray()).toEqual(plans);
    expect(await database.db.collection('stripe_customers').indexes()).toHaveLength(1);
  });
});

describe('a kind that cannot hold what we write is refused by its name', () => {
  const kinds: readonly [string, string, mongo.CreateCollectionOptions][] = [
    ['a view', 'is a view', { viewOn: 'something', pipeline: [] }],
    ['a capped collection', 'is a capped collection', { capped: true, size: 4_096 }],
    ['a time-series collection', 'is a time-series collection', { timeseries: { timeField: 'at' } }],
  ];
  test.each(
    kinds.flatMap(([kind, text, options]) =>
      ['stripe_customers', 'sync_requests', 'sync_state'].map((name) => [kind, name, text, options] as const),
    ),
  )('%s as %s', async (_kind, name, text, options) => {
    const database = freshDatabase();
    await database.db.createCollection(name, options);
    const before = await everythingIn(database);

    const { code, stderr } = await migrate(database);

    expect(code).toBe(1);
    expect(stderr).toContain(`${name} in the database ${database.name} ${text}`);
    expect(await everythingIn(database)).toEqual(before);
  });

  test('a collection that has the name of the view', async () => {
    const database = await databaseWith('stripe_customers_live', [{ a: 1 }]);
    const before = await everythingIn(database);

    const { code, stderr } = await migrate(database);

    expect(code).toBe(1);
    expect(stderr).toContain(`stripe_customers_live in the database ${database.name} is no view`);
    expect(await everythingIn(database)).toEqual(before);
  });
});

/** An account's customers, synced by a daemon that has ended. */
async function syncedBy(database: FreshDatabase, ...inserted: AnyDocument[]): Promise<void> {
  const daemon = startDaemon(database, simulator);
  await daemon.ready();
  const user = new UserOfQueue(database.db);
  const ids = await user.insert({ command: 'syncAll' }, ...inserted);
  await user.allEnded(ids);
  await daemon.stop();
}

const markerOf = ({ db }: FreshDatabase) =>
  db.collection('sync_state').findOne({ _id: 'ownership' as never });
const all = ['stripe_customers', 'sync_requests', 'sync_state'];

describe('what is ours is taken', () => {
  test('empty collections, and requests that were there before the first start', async () => {
    const database = freshDatabase();
    await database.db.createCollection('stripe_customers');
    const user = new UserOfQueue(database.db);
    const [id] = await user.insert({ command: 'syncAll' });

    const daemon = startDaemon(database, simulator);
    await daemon.ready();

    expect(await user.ended(id!)).toMatchObject({ status: 'succeeded', result: { created: 5 } });
    expect((await markerOf(database))?.['collections']).toEqual(all);
  });

  test('our own data, restored without its state', async () => {
    const database = freshDatabase();
    await syncedBy(database, { command: 'softDelete', stripeId: 'cus_unknown' });
    // A daemon has seen it, and waits for a version that knows it.
    const seen = { command: 'synccall', unknownSince: new Date() };
    await new UserOfQueue(database.db).insert(seen);
    await database.db.collection('sync_state').drop();

    await syncedBy(database);

    expect((await markerOf(database))?.['collections']).toEqual(all);
  });

  test('a database of a version without the marker, and requests that it has refused', async () => {
    const database = freshDatabase();
    await syncedBy(database, { nonsense: true }, { command: 'syncByIds' }, { command: 7 });
    await database.db.collection('sync_state').deleteOne({ _id: 'ownership' as never });

    expect(await migrate(database, { MONGODB_AUTO_MIGRATE: 'false' })).toMatchObject({ code: 0 });

    expect((await markerOf(database))?.['collections']).toEqual(all);
  });

  test('what the marker names, whatever others have put into it since', async () => {
    const database = freshDatabase();
    expect(await migrate(database)).toMatchObject({ code: 0 });
    await database.db.collection('stripe_customers').insertMany(plans.map((plan) => ({ ...plan })));

    expect(await migrate(database)).toMatchObject({ code: 0 });
  });

  test('by two daemons that come first at the same time', async () => {
    const database = freshDatabase();
    const user = new UserOfQueue(database.db);
    const daemons = [1, 2].map(() => startDaemon(database, simulator));
    await Promise.all(daemons.map(({ ready }) => ready()));

    expect(await user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });

    expect((await markerOf(database))?.['collections']).toEqual(all);
    atEnd(() => Promise.all(daemons.map(({ stop }) => stop())).then(() => undefined));
  });
});
