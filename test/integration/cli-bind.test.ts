// What a database is bound to, and how it is bound anew.
import { beforeEach, describe, expect, it } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { stateOf } from '../../src/mongo/sync-state.js';
import { startPresence } from '../../src/status/replicas.js';
import { atEnd } from '../support/cleanup.js';
import { callCommandLine } from '../support/cli.js';
import { connect } from '../support/library.js';
import { said, startDaemon, UserOfQueue } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase, ours } from '../support/database.js';
import { requestsLab } from '../support/requests.js';
import { until } from '../support/until.js';

let database: FreshDatabase;
let simulator: StripeSimulator;

beforeEach(async () => {
  database = freshDatabase();
  simulator = await startSimulator({ seed: { count: 12 } });
  atEnd(() => simulator.close());
});

interface Typed {
  input: string;
  isTyped: boolean;
}

const bind = (args: string[] = [], typed?: Typed) =>
  callCommandLine(['bind', ...args], { MONGODB_URI: database.uri }, typed);

const typed = (input: string): Typed => ({ input, isTyped: true });

/** Syncs the account of the key with a daemon that has ended then. */
async function syncAll(key: string): Promise<object> {
  const daemon = startDaemon(database, simulator, { STRIPE_API_KEY: key });
  await daemon.ready();
  const { status, result } = await new UserOfQueue(database.db).run({ command: 'syncAll' });
  await daemon.stop();
  return { status, result };
}

const stateIdsOf = async (): Promise<string[]> =>
  (await stateOf(ours(database.db)).find().toArray()).map(({ _id }) => _id).sort();

const unbound = () => `${database.name} is not bound to an account; the next key that starts binds it`;

describe('bind', () => {
  it('says what the database is bound to, and tells no hash', async () => {
    expect(await bind()).toEqual({ code: 0, stdout: unbound(), stderr: '' });
    await syncAll(simulator.key);
    const [{ salt, keys }] = (await stateOf(ours(database.db))
      .find({ _id: 'account-binding' })
      .toArray()) as never as [{ salt: string; keys: string[] }];

    const shown = await bind();
    const { stdout } = await bind(['--json']);

    expect(shown.stdout.split('\n')).toEqual([
      `database     ${database.name}`,
      `account      ${simulator.account().id}`,
      'mode         test',
      expect.stringMatching(/^bound since {2}\d{4}-\d\d-\d\d/),
      'known keys   1',
    ]);
    expect(JSON.parse(stdout)).toEqual({
      database: database.name,
      binding: {
        accountId: simulator.account().id,
        livemode: false,
        boundAt: expect.any(String) as string,
        knownKeys: 1,
      },
    });
    for (const secret of [salt, ...keys]) expect(shown.stdout + stdout).not.toContain(secret);
  });
});

describe('bind --reset', () => {
  it('lets a key of another account bind the database, says what stays, and clears what was of the former one', async () => {
    await syncAll(simulator.restrictedKey);
    await requestsLab(database).insert({ command: 'syncAll', runAt: new Date(Date.UTC(2100, 0)) });
    expect(await stateIdsOf()).toEqual(expect.arrayContaining(['rate-limiter', 'scan-completed:customer']));
    const before = await database.db.collection('stripe_customers').find().toArray();
    const other = simulator.account('acct_1Other');
    other.test.seed({ count: 3, seed: 2 });

    const { code, stdout, stderr } = await bind(['--reset', '--yes']);

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n')).toEqual([
      `${database.name} is not bound to an account any more; the next key that starts binds it, without proof`,
      '12 customers of the former account stay in stripe_customers',
      expect.stringContaining('names them as not_in_account'),
      expect.stringMatching(
        /^ {2}db\.stripe_customers\.deleteMany\(\{ '_sync\.writtenAt': .*ISODate\('.*Z'\) \} \}\)$/,
      ),
      '1 request waits, and will run with the next key; "requests cancel" ends them',
    ]);
    expect(await stateIdsOf()).toEqual([
      'account-binding',
      'insertion-order',
      'ownership',
      'requests-validator',
      'scan-lease:customer',
    ]);
    expect((await bind()).stdout).toBe(unbound());
    expect(await database.db.collection('stripe_customers').find().toArray()).toEqual(before);

    const ended = await syncAll(other.keys.restrictedTest);

    expect(ended).toMatchObject({ result: { created: 3, updated: 0, deleted: 0 } });
    expect(
      await database.db
        .collection('stripe_customers')
        .countDocuments({ '_sync.deletedAt': { $exists: true } }),
    ).toBe(0);
    const line = /ISODate\('(.*)'\)/.exec(stdout)![1]!;
    await database.db
      .collection('stripe_customers')
      .deleteMany({ '_sync.writtenAt': { $lte: new Date(line) } });
    expect(await database.db.collection('stripe_customers').countDocuments()).toBe(3);
    const back = startDaemon(database, simulator);
    expect(await back.exit).toMatchObject({ code: 1 });
  });

  it('ends what a process of the library may do, which it does not see', async () => {
    const { action } = await connect(database, simulator);
    await action.syncAll();
    const [id = ''] = simulator.listIds();
    await bind(['--reset', '--yes']);
    const other = simulator.account('acct_1Other');
    other.test.create({ id });
    await syncAll(other.keys.restrictedTest);
    const before = await database.db.collection('stripe_customers').find().toArray();
    const refused = { kind: 'fatal', code: 'account_mismatch' };
    const batch = [{ id, name: 'of the former account' }];

    // The last look is believed for some seconds.
    const isRefused = () =>
      action.syncByIds([id]).then(
        () => false,
        () => true,
      );
    await until(isRefused, { what: 'the next look' });
    await expect(action.syncBatch(batch)).rejects.toMatchObject(refused);
    await expect(action.softDelete(id)).rejects.toMatchObject(refused);
    await expect(action.syncByIds([id])).rejects.toMatchObject(refused);

    expect(await database.db.collection('stripe_customers').find().toArray()).toEqual(before);
  });

  it('is a way out where every customer was deleted at Stripe and no key is known', async () => {
    await syncAll(simulator.restrictedKey);
    simulator.clear();
    const next = 'rk_test_next00000000';
    simulator.addKey(next);
    const refused = startDaemon(database, simulator, { STRIPE_API_KEY: next });
    const { json } = await refused.waitForLine(said('Ended by a fault'));
    expect(JSON.stringify(json)).toContain('stripe-mongo-sync bind --reset');
    await refused.exit;

    await bind(['--reset', '--yes']);

    const daemon = startDaemon(database, simulator, { STRIPE_API_KEY: next });
    await daemon.ready();
  });

  it('asks on a terminal, and changes nothing without a yes', async () => {
    await stateOf(ours(database.db)).insertOne({
      _id: 'account-binding',
      livemode: true,
      accountId: 'acct_1',
    });

    const no = await bind(['--reset'], typed('n\n'));
    const ended = await bind(['--reset'], typed(''));
    expect((await bind()).stdout).toContain('acct_1');
    const yes = await bind(['--reset', '--json'], typed('yes\n'));

    for (const { code, stdout, stderr } of [no, ended]) {
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(
        /is bound to acct_1 in live mode\..*\nReset the binding\? \[y\/N\]\nerror: Not confirmed/,
      );
    }
    expect(JSON.parse(yes.stdout)).toMatchObject({
      binding: null,
      before: { accountId: 'acct_1', livemode: true },
      mirror: { customer: { live: 0, deleted: 0 } },
      waiting: 0,
    });
    expect((await bind()).stdout).toBe(unbound());
  });

  it.each([
    {
      args: ['--reset'],
      says: 'error: bind --reset asks for confirmation, and there is no terminal; give --yes',
    },
    { args: ['--yes'], says: 'error: --yes is given with --reset only' },
  ])('$args without a terminal is a usage error', async ({ args, says }) => {
    expect(await bind(args)).toEqual({ code: 2, stdout: '', stderr: says });
  });

  it('is refused while somebody is at work, who is named', async () => {
    const lab = requestsLab(database);
    const states = stateOf(ours(database.db));
    const soon = new Date(Date.now() + 30_000);
    const presence = startPresence({
      states,
      owner: 'pod-a',
      vitals: () => ({
        version: '1',
        schedule: '',
        timezone: 'UTC',
        limits: { callsPerSecond: 0, callsPerSecondPerEndpoint: 0 },
        callsPerSecond: 0,
        running: { small: 0, scan: 0 },
      }),
      onFault: () => undefined,
    });
    await until(() => states.findOne({ _id: 'replica:pod-a' }), { what: 'the heartbeat' });
    await states.insertMany([
      { _id: 'account-binding', livemode: false },
      { _id: 'scan-lease:customer', owner: 'library', expiresAt: soon },
    ]);
    await lab.insert({
      command: 'syncAll',
      status: 'running',
      lease: { owner: 'console', fence: 1, expiresAt: soon },
    });

    const { code, stderr } = await bind(['--reset', '--yes']);

    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error: The database is in use by pod-a, library, console; stop it first .* nothing was changed$/,
    );
    expect(await states.findOne({ _id: 'account-binding' })).toMatchObject({ livemode: false });
    await presence.stop();
  });
});
