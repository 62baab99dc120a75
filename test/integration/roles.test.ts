// Runs under the very roles that docs/operations.md has people create: what they may, and what they may not.
import { readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import mongoose, { mongo } from 'mongoose';
import { beforeAll, describe, expect, it } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { type RequestInput, requests } from '../../src/index.js';
import { migrate } from '../../src/migration.js';
import { atEnd } from '../support/cleanup.js';
import { callCommandLine, runCommandLine } from '../support/cli.js';
import { ours } from '../support/database.js';
import { type ReplicaSet, startReplicaSet } from '../support/mongodb.js';
import { type Line, type RunningProcess, startProcess } from '../support/process.js';
import { until } from '../support/until.js';

const root = { username: 'root', password: 'root-password' };
const password = 'a-password';
const passwordOf = { submitter: 'Submitter', operator: 'Operator', daemon: 'Daemon', migrator: 'Migrator' };
type Role = keyof typeof passwordOf;
const roleNames = Object.fromEntries(
  Object.entries(passwordOf).map(([user, name]) => [user, `stripeSync${name}`]),
) as Record<Role, string>; // the same keys

let set: ReplicaSet;
let simulator: StripeSimulator;

const uriOf = (user: string): string => {
  const uri = new URL(set.uriFor('stripe'));
  uri.username = user;
  uri.password = password;
  uri.searchParams.set('authSource', 'stripe');
  return uri.href;
};

async function as(user: Role): Promise<mongo.Db> {
  const client = await mongo.MongoClient.connect(uriOf(user));
  atEnd(() => client.close());
  return client.db('stripe');
}

/** Runs the commands that the page shows, as mongosh would. */
async function createRoles(db: mongo.Db): Promise<void> {
  const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const between = page.split('<!-- roles:start -->')[1]?.split('<!-- roles:end -->')[0] ?? '';
  const code = /```js\n([^]*?)```/.exec(between)?.[1] ?? '';
  const roles: { role: string; privileges: object[]; roles: object[] }[] = [];
  const used: string[] = [];
  runInNewContext(code, {
    use: (name: string) => void used.push(name),
    db: { createRole: (role: (typeof roles)[number]) => void roles.push(role) },
  });
  expect(used).toEqual([db.databaseName]);
  for (const { role, ...rest } of roles) {
    await db.command({ createRole: role, ...(JSON.parse(JSON.stringify(rest)) as typeof rest) });
  }
}

const isRefused = async (promise: Promise<unknown>): Promise<boolean> => {
  try {
    await promise;
    return false;
  } catch (error) {
    return (error as mongo.MongoServerError).code === 13; // Unauthorized
  }
};

const daemonEnv = () => ({
  MONGODB_URI: uriOf('daemon'),
  MONGODB_AUTO_MIGRATE: 'false',
  STRIPE_API_BASE: simulator.url,
  STRIPE_API_KEY: simulator.restrictedKey,
  STRIPE_CALLS_PER_SECOND: '0',
  STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: '0',
  SYNC_ALL_SCHEDULE: '',
  // Every removal is held, so that there is one to approve.
  REMOVALS_MAX_RATIO: '0',
  REMOVALS_MAX_COUNT: '0',
  HTTP_PORT: '0',
});

beforeAll(async () => {
  [set, simulator] = await Promise.all([
    startReplicaSet({ auth: root }),
    startSimulator({ seed: { count: 120 } }),
  ]);
  atEnd(() => simulator.close());
  const client = await mongo.MongoClient.connect(set.uri);
  atEnd(() => client.close());
  const db = client.db('stripe');
  await createRoles(db);
  for (const [user, role] of Object.entries(roleNames)) {
    await db.command({ createUser: user, pwd: password, roles: [role] });
  }
});

async function migrateAs(user: Role) {
  const connection = await mongoose.createConnection(uriOf(user), { autoIndex: false }).asPromise();
  atEnd(() => connection.close());
  return migrate(ours(connection.db!), { validation: 'error' });
}

/** For requests that no daemon shall work on. */
const inFuture = new Date(Date.UTC(2100, 0));

const isStarted = ({ json }: Line): boolean => json?.['msg'] === 'Started';

const complaintsOf = ({ lines }: RunningProcess): unknown[] =>
  lines.filter(({ json }) => ['warn', 'error'].includes(String(json?.['level']))).map(({ json }) => json);

describe('the roles of docs/operations.md', () => {
  it('the daemon may not set itself up, and says what to do', async () => {
    const refused = migrateAs('daemon');

    await expect(refused).rejects.toMatchObject({ code: 'mongodb_rejected', kind: 'fatal' });
    await expect(refused).rejects.toThrow(
      /^MongoDB does not let this user create .* "stripe-mongo-sync migrate"/,
    );
  });

  it('the migrator creates everything, as often as need be, and reads no customer', async () => {
    const first = await migrateAs('migrator');
    const second = await migrateAs('migrator');

    expect(new Set(first.map(({ outcome }) => outcome))).toContain('created');
    expect(first).toContainEqual({ what: 'validator of sync_requests', outcome: 'created' });
    expect(new Set(second.map(({ outcome }) => outcome))).toEqual(new Set(['unchanged']));
    const db = await as('migrator');
    const others = [
      db.collection('stripe_customers').findOne(),
      db.collection('sync_requests').findOne(),
      db.collection('sync_requests').insertOne({ command: 'syncAll' }),
      db.collection('sync_requests').drop(),
    ];
    expect(await Promise.all(others.map(isRefused))).toEqual(others.map(() => true));
  });

  it('the daemon has every right that check-config tries', async () => {
    const { code, stdout } = await callCommandLine(['check-config', '--connect'], daemonEnv());

    expect(stdout).toContain('granted    remove on sync_state');
    expect(stdout).not.toMatch(/^(refused|missing) /m);
    expect(code).toBe(0);
  });

  it('the daemon works on every command, and may drop nothing', async () => {
    const daemon = startProcess({ args: ['run'], env: daemonEnv() });
    await daemon.waitForLine(isStarted, { what: 'the start of the daemon' });
    const [submitter, operator] = await Promise.all([as('submitter'), as('operator')]);
    const ended: Record<string, string> = {};
    const run = async (request: RequestInput): Promise<mongo.ObjectId> => {
      const id = await requests.insert(submitter, request);
      const { status, error } = await requests.result(operator, id, { timeoutMs: 10_000 });
      ended[request.command] = error ? `${status}: ${error.message}` : status;
      return id;
    };
    const [known = '', other = '', gone = ''] = simulator.listIds();

    await run({ command: 'syncAll' });
    simulator.delete(gone);
    const held = await run({ command: 'syncAll' });
    const whenHeld = ended['syncAll'];
    await run({ command: 'approveRemovals', request: held });
    await run({ command: 'syncByIds', ids: [known] });
    await run({ command: 'syncBatch', batch: [{ id: other, name: 'Jane' }] });
    await run({ command: 'softDelete', stripeId: known });

    expect(whenHeld).toBe('partial');
    const { syncAll: _, ...others } = ended;
    expect(others).toEqual({
      approveRemovals: 'succeeded',
      syncByIds: 'succeeded',
      syncBatch: 'succeeded',
      softDelete: 'succeeded',
    });
    // The scan's removals were held on purpose.
    const complaints = complaintsOf(daemon).map((line) => (line as { msg: string }).msg);
    expect(complaints).toEqual([expect.stringContaining('removals are held until approveRemovals')]);
    const db = await as('daemon');
    const refused = [
      db.collection('stripe_customers').drop(),
      db.collection('stripe_customers').deleteOne({}),
      db.collection('sync_requests').deleteOne({}),
      db.collection('sync_requests').createIndex({ own: 1 }, {}, {}),
      db.command({ collMod: 'sync_requests', validator: {} }),
    ];
    expect(await Promise.all(refused.map(isRefused))).toEqual(refused.map(() => true));
    expect((await daemon.stop()).code).toBe(0);
  });

  it('the submitter inserts, and can do nothing else', async () => {
    const db = await as('submitter');
    const own = db.collection('sync_requests');

    const id = await requests.insert(db, { command: 'softDelete', stripeId: 'cus_1', runAt: inFuture });

    expect(id).toBeInstanceOf(mongo.ObjectId);
    await expect(own.insertOne({ command: 'syncByIds', ids: '..' })).rejects.toMatchObject({ code: 121 });
    const others = [
      own.findOne(),
      own.updateOne({ _id: id }, { $set: { cancel: true } }),
      own.deleteOne({ _id: id }),
      own.insertOne({ command: 'syncByIds' }, { bypassDocumentValidation: true }),
      own.watch().tryNext(),
      own.drop(),
      db.collection('stripe_customers').findOne(),
      db.collection('stripe_customers_live').findOne(),
      db.collection('sync_state').findOne(),
      db.collection<{ _id: string }>('sync_state').insertOne({ _id: 'forged' }),
      db.command({ collMod: 'sync_requests', validator: {} }),
    ];
    expect(await Promise.all(others.map(isRefused))).toEqual(others.map(() => true));
    await expect(requests.result(db, id)).rejects.toMatchObject({ code: 'mongodb_rejected' });
  });

  it('the operator inserts, watches, cancels and repeats, and reads the mirror', async () => {
    const db = await as('operator');
    const own = db.collection('sync_requests');
    const id = await requests.insert(db, { command: 'syncByIds', ids: ['cus_1'], runAt: inFuture });

    const command = await runCommandLine(['sync-all', '--no-wait'], {
      env: { MONGODB_URI: uriOf('operator') },
    });
    const cancelled = await own.updateOne({ _id: id }, { $set: { cancel: true } });
    const stream = own.watch();
    const seen = await stream.tryNext();
    await stream.close();

    expect(command.code).toBe(0);
    expect(cancelled.modifiedCount).toBe(1);
    expect(seen).toBeNull();
    expect(await db.collection('stripe_customers').countDocuments()).toBe(120);
    expect(await db.collection('stripe_customers_live').countDocuments()).toBe(118);
    const others = [
      own.deleteOne({ _id: id }),
      own.drop(),
      db.collection<{ _id: string }>('stripe_customers').updateOne({ _id: 'cus_1' }, { $set: { name: 'x' } }),
      db.collection<{ _id: string }>('sync_state').insertOne({ _id: 'forged' }),
      db
        .collection<{ _id: string }>('sync_state')
        .updateOne({ _id: 'account-binding' }, { $set: { livemode: true } }),
      db.collection<{ _id: string }>('sync_state').deleteOne({ _id: 'account-binding' }),
      db.command({ collMod: 'sync_requests', validator: {} }),
    ];
    expect(await Promise.all(others.map(isRefused))).toEqual(others.map(() => true));
  });

  it('the operator sees what the database is bound to, and only the role of the daemon may reset that', async () => {
    const run = (user: Role, ...args: string[]) =>
      callCommandLine(['bind', ...args], { MONGODB_URI: uriOf(user) });

    const shown = await run('operator');
    const refused = await run('operator', '--reset', '--yes');
    const reset = await run('daemon', '--reset', '--yes');

    expect(shown.stdout).toContain('known keys   1');
    expect(refused).toMatchObject({
      code: 1,
      stderr: 'error: MongoDB refused resetting the binding: Unauthorized',
    });
    expect(reset).toMatchObject({ code: 0, stderr: '' });
    expect(reset.stdout).toContain('120 customers of the former account stay in stripe_customers');
  });

  it('the operator looks and steers by the command line, and one who may read less is told what is not permitted', async () => {
    const client = await mongo.MongoClient.connect(set.uri);
    atEnd(() => client.close());
    const root = client.db('stripe');
    const onlyRequests = [{ resource: { db: 'stripe', collection: 'sync_requests' }, actions: ['find'] }];
    await root.command({ createRole: 'reader', privileges: onlyRequests, roles: [] });
    await root.command({ createUser: 'reader', pwd: password, roles: ['reader'] });
    const id = String(
      await requests.insert(await as('operator'), { command: 'syncByIds', ids: ['cus_1'], runAt: inFuture }),
    );
    const run = (user: string, ...args: string[]) => callCommandLine(args, { MONGODB_URI: uriOf(user) });

    const full = await run('operator', 'status', '--json');
    const cancelled = await run('operator', 'requests', 'cancel', id, '--no-wait');
    const listed = await run('operator', 'requests', 'list', '--status', 'pending');
    const partly = await run('reader', 'status');
    const refused = await run('reader', 'requests', 'cancel', id);

    expect(full).toMatchObject({ code: 0, stderr: '' });
    expect(full.stdout).not.toContain('not permitted');
    expect(cancelled).toMatchObject({ code: 0, stdout: `request ${id} (syncByIds) will be cancelled` });
    expect(listed.stdout).toContain('cancelling');
    expect(partly).toMatchObject({ code: 0, stderr: '' });
    expect(partly.stdout).toMatch(/^complete scan +not permitted$/m);
    expect(partly.stdout).toMatch(/^mirror +not permitted$/m);
    expect(partly.stdout).toMatch(/^waiting +\d due/m);
    expect(refused).toMatchObject({
      code: 1,
      stderr: 'error: MongoDB refused cancelling the request: Unauthorized',
    });
  });

  it('the role of the daemon may adopt, and that of the operator may not', async () => {
    const client = await mongo.MongoClient.connect(set.uri);
    atEnd(() => client.close());
    const customers = client.db('stripe').collection<{ _id: string }>('stripe_customers');
    const adopted = { _id: 'cus_adopted' };
    await customers.insertOne({ ...adopted, plan: 'gold' } as { _id: string });
    const run = (user: string) => callCommandLine(['adopt', '--yes'], { MONGODB_URI: uriOf(user) });

    const refused = await run('operator');
    const done = await run('daemon');

    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('Unauthorized') as string });
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(await customers.findOne(adopted)).toEqual({ ...adopted, app: { plan: 'gold' } });
    await customers.deleteOne(adopted);
  });

  it('a daemon that may not set the validator says so, and works on, by cron too', async () => {
    const client = await mongo.MongoClient.connect(set.uri);
    atEnd(() => client.close());
    const db = client.db('stripe');
    await db.command({ collMod: 'sync_requests', validator: {}, validationLevel: 'off' });
    // It may look at everything, and everything but the validator is there.
    const privileges = [{ resource: { db: 'stripe', collection: '' }, actions: ['listCollections'] }];
    await db.command({ createRole: 'looking', privileges, roles: [] });
    await db.command({ grantRolesToUser: 'daemon', roles: ['looking'] });

    const env = { ...daemonEnv(), MONGODB_AUTO_MIGRATE: 'true', SYNC_ALL_SCHEDULE: '* * * * * *' };
    const daemon = startProcess({ args: ['run'], env });
    await daemon.waitForLine(isStarted, { what: 'the start of the daemon' });
    const requested = await until(
      () => db.collection('sync_requests').findOne({ requestedBy: 'cron', status: 'succeeded' }),
      { what: 'a scan by cron' },
    );

    expect(requested['command']).toBe('syncAll');
    expect(complaintsOf(daemon)).toMatchObject([
      { msg: 'Left unchanged in MongoDB', what: 'validator of sync_requests' },
    ]);
    expect((await daemon.stop()).code).toBe(0);
  });
});
