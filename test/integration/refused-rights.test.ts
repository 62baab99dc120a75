// The daemon without one of its rights, each taken away in turn while it works. Everything ends with the name of
// MongoDB's reason or waits, is told by log and metric, and goes on once the right is back.
import { mongo } from 'mongoose';
import { beforeAll, describe, expect, test } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { callCommandLine } from '../support/cli.js';
import { type Daemon, startDaemon, UserOfQueue } from '../support/daemon.js';
import { insertedAs, mirrorIn, takeBatch, whole } from '../support/mirror.js';
import { type ReplicaSet, startReplicaSet } from '../support/mongodb.js';
import type { AnyDocument, RequestDocument } from '../support/requests.js';
import { until } from '../support/until.js';

const root = { username: 'root', password: 'root-password' };
const rights = {
  sync_requests: ['find', 'insert', 'update', 'changeStream', 'listIndexes'],
  stripe_customers: ['find', 'insert', 'update', 'listIndexes'],
  sync_state: ['find', 'insert', 'update', 'remove', 'listIndexes'],
};
type Collection = keyof typeof rights;

let set: ReplicaSet;
let client: mongo.MongoClient;

beforeAll(async () => {
  set = await startReplicaSet({ auth: root });
  client = await mongo.MongoClient.connect(set.uri);
  atEnd(() => client.close());
});

interface Case {
  db: mongo.Db;
  env: Record<string, string> & { MONGODB_URI: string };
  /** Takes one right away, or grants all. */
  grant: (without?: readonly [Collection, string]) => Promise<unknown>;
}

const privilegesIn = (db: string, without?: readonly [Collection, string]) =>
  Object.entries(rights).map(([collection, actions]) => ({
    resource: { db, collection },
    actions: actions.filter((action) => collection !== without?.[0] || action !== without[1]),
  }));

/** A database whose collections are there, and a user with exactly the rights of the daemon. */
async function open(name: string, simulator: StripeSimulator): Promise<Case> {
  const db = client.db(name);
  await db.command({ createRole: 'daemon', privileges: privilegesIn(name), roles: [] });
  await db.command({ createUser: 'daemon', pwd: 'a-password', roles: ['daemon'] });
  const uri = new URL(set.uriFor(name));
  expect((await callCommandLine(['migrate'], { MONGODB_URI: uri.href })).code).toBe(0);
  uri.username = 'daemon';
  uri.password = 'a-password';
  uri.searchParams.set('authSource', name);
  const grant: Case['grant'] = (without) =>
    db.command({ updateRole: 'daemon', privileges: privilegesIn(name, without) });
  const env = {
    MONGODB_URI: uri.href,
    MONGODB_AUTO_MIGRATE: 'false',
    STRIPE_API_KEY: simulator.restrictedKey,
    STRIPE_API_BASE: simulator.url,
  };
  return { db, env, grant };
}

async function startStripe(): Promise<StripeSimulator> {
  const simulator = await startSimulator({ seed: { count: 20 } });
  atEnd(() => simulator.close());
  return simulator;
}

const refusesIn = async (daemon: Daemon, part: string): Promise<boolean> =>
  (await daemon.samples()).get(`stripe_sync_mongodb_refuses_writes{part="${part}"}`) === 1;

const refused = (doing: string) => ({
  status: 'failed',
  attempts: 1,
  error: { code: 'mongodb_rejected', message: `MongoDB refused ${doing}: Unauthorized` },
});

interface Expected {
  /** How these end, by the command. */
  ends: Record<string, object>;
  /** The metric tells of this part. */
  told?: string;
}

const writing = refused('writing the mirror');
const taking = refused('taking calls from the budget of the rate');
const done = { status: 'succeeded' };
const cases: readonly [Collection, string, Expected][] = [
  ['stripe_customers', 'insert', { ends: { syncAll: writing }, told: 'mirror' }],
  [
    'stripe_customers',
    'update',
    {
      ends: { syncByIds: writing, syncBatch: writing, softDelete: writing, syncAll: writing },
      told: 'mirror',
    },
  ],
  [
    'stripe_customers',
    'find',
    {
      ends: {
        syncByIds: refused('reading heads'),
        softDelete: refused('reading heads'),
        syncAll: refused('counting the mirror'),
      },
    },
  ],
  ['sync_state', 'insert', { ends: { syncByIds: taking, softDelete: done } }],
  ['sync_state', 'update', { ends: { syncByIds: taking, softDelete: done }, told: 'state' }],
  ['sync_state', 'find', { ends: { syncByIds: taking, softDelete: done } }],
  ['sync_state', 'remove', { ends: { syncAll: refused('ending a scan'), softDelete: done } }],
  ['sync_requests', 'changeStream', { ends: { syncByIds: done, syncBatch: done, syncAll: done } }],
];

describe('a daemon that loses its right', () => {
  test.each(cases)('on %s to %s', async (collection, action, { ends, told }) => {
    const simulator = await startStripe();
    const { db, env, grant } = await open(`lost_${collection}_${action}`, simulator);
    const daemon = startDaemon({ uri: env.MONGODB_URI }, simulator, {
      ...env,
      STRIPE_CALLS_PER_SECOND: '100',
    });
    await daemon.ready();
    const user = new UserOfQueue(db);
    expect(await user.run({ command: 'syncAll' })).toMatchObject(done);
    const complete = await db
      .collection<{ _id: string }>('sync_state')
      .findOne({ _id: 'scan-completed:customer' });

    await grant([collection, action]);
    const [changed = '', gone = '', marked = ''] = simulator.listIds();
    simulator.update(changed, { name: 'changed' });
    simulator.create({ name: 'new' });
    simulator.delete(gone);
    const before = simulator.requests.length;
    const commands: Record<string, AnyDocument> = {
      syncByIds: { ids: [changed] },
      syncBatch: { batch: [{ id: changed, name: 'of a batch' }] },
      softDelete: { stripeId: marked },
      syncAll: {},
    };
    const ended: Record<string, RequestDocument> = {};
    for (const command of Object.keys(ends))
      ended[command] = await user.run({ command, ...commands[command] });

    expect(ended).toMatchObject(ends);
    // A read each, and a scan of one page with its catch-up.
    expect(simulator.requests.length - before).toBeLessThan(8);
    if (told) await until(() => refusesIn(daemon, told), { what: 'the metric', timeoutMs: 20_000 });
    if (ends['syncAll'] && ends['syncAll'] !== done) {
      const still = await db
        .collection<{ _id: string }>('sync_state')
        .findOne({ _id: 'scan-completed:customer' });
      expect(still).toEqual(complete);
    }
    expect(daemon.lines.length).toBeLessThan(120);
    const { code, stdout } = await callCommandLine(['check-config', '--connect'], env);
    expect({ code, refusals: stdout.match(/^refused .*$/gm) }).toEqual({
      code: 1,
      refusals: [`refused    ${action} on ${collection}: Unauthorized`],
    });

    await grant();
    expect(await user.run({ command: 'syncAll' })).toMatchObject(done);
    expect((await daemon.stop()).code).toBe(0);
  });

  test('to claim requests tells once, and works on them when it has it again', async () => {
    const simulator = await startStripe();
    const { db, env, grant } = await open('lost_claims', simulator);
    const daemon = startDaemon({ uri: env.MONGODB_URI }, simulator, env);
    await daemon.ready();
    const user = new UserOfQueue(db);
    await grant(['sync_requests', 'update']);
    const [known = ''] = simulator.listIds();

    const ids = await user.insert(
      { command: 'syncByIds', ids: [known] },
      { command: 'syncByIds', ids: [known] },
      { command: 'syncAll' },
    );
    await until(() => refusesIn(daemon, 'requests'), { what: 'the metric' });
    const polled = async (): Promise<number> =>
      (await daemon.samples()).get('stripe_sync_last_poll_timestamp_seconds') ?? 0;
    const since = await polled();
    await until(async () => (await polled()) > since + 2, { what: 'some polls' });
    const inProcess = await callCommandLine(['sync-by-ids', known, '--in-process'], env);

    const told = daemon.logs().filter(({ msg }) => msg.startsWith('MongoDB is failing'));
    expect(told.map(({ level }) => level)).toEqual(['error']);
    expect(daemon.logs().some(({ msg }) => msg.startsWith('MongoDB has recovered'))).toBe(false);
    expect(simulator.requests.filter(({ url }) => url.includes(known))).toEqual([]);
    expect(inProcess).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Unauthorized') as string,
    });

    await grant();
    for (const request of await user.allEnded(ids)) expect(request).toMatchObject(done);
    expect((await daemon.stop()).code).toBe(0);
  });

  test('to write at all, as the cluster blocks writes, goes on when it ends', async () => {
    const simulator = await startStripe();
    const { db, env } = await open('blocked', simulator);
    const daemon = startDaemon({ uri: env.MONGODB_URI }, simulator, env);
    await daemon.ready();
    const user = new UserOfQueue(db);
    const block = (global: boolean) => client.db('admin').command({ setUserWriteBlockMode: 1, global });
    atEnd(async () => {
      await block(false);
    });

    await block(true);
    const [id] = await user.insert({ command: 'syncAll' }); // root may
    await until(() => refusesIn(daemon, 'requests'), { what: 'the metric' });
    const told = daemon.logs().find(({ msg }) => msg.startsWith('MongoDB is failing'));
    expect(told?.['err']).toMatchObject({
      message: 'MongoDB refused working on requests: UserWritesBlocked',
    });
    const own = await mongo.MongoClient.connect(env.MONGODB_URI);
    atEnd(() => own.close());
    const batch = takeBatch(mirrorIn(own.db('blocked')), [whole('cus_1')], insertedAs(1, Date.now()));
    await expect(batch).rejects.toMatchObject({
      code: 'mongodb_rejected',
      kind: 'retryable',
      message: 'MongoDB refused writing the mirror: UserWritesBlocked',
    });
    await block(false);

    expect(await user.ended(id!)).toMatchObject(done);
    expect((await daemon.stop()).code).toBe(0);
  });

  test('to insert requests tells that the schedule cannot', async () => {
    const simulator = await startStripe();
    const { db, env, grant } = await open('lost_schedule', simulator);
    await grant(['sync_requests', 'insert']);
    const daemon = startDaemon({ uri: env.MONGODB_URI }, simulator, {
      ...env,
      SYNC_ALL_SCHEDULE: '* * * * * *',
    });
    await daemon.ready();

    await until(() => refusesIn(daemon, 'requests'), { what: 'the metric' });
    await grant();
    await until(async () => (await db.collection('sync_requests').countDocuments()) > 0, {
      what: 'the request of the schedule',
    });
    expect((await daemon.stop()).code).toBe(0);
  });
});

describe('check-config --connect', () => {
  test('grants everything to the user of the daemon, and leaves nothing behind', async () => {
    const simulator = await startStripe();
    const { db, env } = await open('checked', simulator);
    const all = Object.entries(rights).flatMap(([collection, actions]) =>
      actions.map((action) => `granted    ${action} on ${collection}`),
    );

    const { code, stdout, stderr } = await callCommandLine(['check-config', '--connect'], env);

    expect(stderr).toBe('');
    expect(
      stdout
        .split('\n')
        .filter((line) => /^(granted|refused|missing) /.test(line))
        .sort(),
    ).toEqual([...all, 'granted    listing customers in Stripe'].sort());
    expect(code).toBe(0);
    for (const name of Object.keys(rights)) {
      const own = { _id: { $nin: ['requests-validator', 'ownership'] } } as object;
      expect(await db.collection(name).countDocuments(own)).toBe(0);
    }
  });

  test('names what is missing, and which rights its creation needs, and creates nothing', async () => {
    const simulator = await startStripe();
    const { db, env } = await open('nothing_there', simulator);
    await db.dropDatabase();

    const asIs = await callCommandLine(['check-config', '--connect'], env);
    const migrating = await callCommandLine(['check-config', '--connect'], {
      ...env,
      MONGODB_AUTO_MIGRATE: 'true',
    });
    const asRoot = await callCommandLine(['check-config', '--connect'], {
      ...env,
      MONGODB_AUTO_MIGRATE: 'true',
      MONGODB_URI: set.uriFor('nothing_there'),
    });

    expect(asIs.code).toBe(1);
    expect(asIs.stdout).toContain('missing    collection sync_requests: run "stripe-mongo-sync migrate"');
    expect(migrating.code).toBe(1);
    expect(migrating.stdout).toContain('refused    createCollection on stripe_customers: Unauthorized');
    expect(migrating.stdout).toContain('refused    createIndex on sync_requests: Unauthorized');
    expect(migrating.stdout).toContain('refused    listCollections on stripe_customers_live: Unauthorized');
    expect(asRoot.stdout).not.toContain('refused');
    expect(asRoot.stdout).toContain('missing    view stripe_customers_live: the start creates it');
    expect(asRoot.code).toBe(0);
    expect(await db.listCollections().toArray()).toEqual([]);
  });

  test('says why the key cannot list customers', async () => {
    const simulator = await startStripe();
    const { env } = await open('wrong_key', simulator);

    const { code, stdout } = await callCommandLine(['check-config', '--connect'], {
      ...env,
      STRIPE_API_KEY: 'rk_test_nobodyHasThisKey0000',
    });

    expect(code).toBe(1);
    expect(stdout).toMatch(/^refused {4}listing customers in Stripe: .*key/m);
  });
});
