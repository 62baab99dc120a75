import { beforeAll, describe, expect, it } from 'vitest';
import { migrate } from '../../src/migration.js';
import { stateOf } from '../../src/mongo/sync-state.js';
import { startPresence, type Vitals } from '../../src/status/replicas.js';
import { atEnd } from '../support/cleanup.js';
import { callCommandLine } from '../support/cli.js';
import { freshDatabase, ours } from '../support/database.js';
import { type AnyDocument, idOfAge, requestsLab } from '../support/requests.js';
import { until } from '../support/until.js';

const database = freshDatabase();
const lab = requestsLab(database);
const states = stateOf(ours(database.db));
const status = (...args: string[]) => callCommandLine(['status', ...args], { MONGODB_URI: database.uri });
const jsonStatus = async (): Promise<AnyDocument> =>
  JSON.parse((await status('--json')).stdout) as AnyDocument;

const vitals: Vitals = {
  version: '1.2.3',
  schedule: '0 3 * * *',
  timezone: 'Europe/Berlin',
  limits: { callsPerSecond: 20, callsPerSecondPerEndpoint: 10 },
  callsPerSecond: 4.2,
  running: { small: 2, scan: 1 },
};

/** A replica as a daemon tells of itself, until the test ends. */
async function startReplica(owner: string, changes: Partial<Vitals> = {}, everyMs = 10_000) {
  const presence = startPresence({
    states: stateOf(await lab.connect()),
    owner,
    vitals: () => ({ ...vitals, ...changes }),
    onFault: () => {},
    everyMs,
  });
  atEnd(() => presence.stop());
  await until(() => states.findOne({ _id: `replica:${owner}` }), { what: 'the replica to be told' });
  return presence;
}

beforeAll(async () => {
  await migrate(await lab.connect(), { validation: 'off' });
});

describe('status', () => {
  it('of a database that nothing has worked on yet says so, part by part', async () => {
    const { code, stdout, stderr } = await status();

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n').map((line) => line.trim())).toEqual([
      `database       ${database.name}, not bound to an account yet`,
      'mirror         0 customers, 0 marked as deleted',
      'complete scan  none yet',
      'schedule       none: no daemon has set one yet',
      'next scans     none',
      'waiting        nothing',
      'running        nothing',
      'failures       nothing',
      'rate           0 calls/s',
      'this month     0 calls',
      'replicas       none running',
    ]);
  });

  it('tells what runs and waits, how complete the mirror is, what comes next, the rate and the replicas', async () => {
    await startReplica('pod-a');
    await startReplica('pod-b', { version: '1.3.0', callsPerSecond: 1, running: { small: 0, scan: 0 } });
    const completedAt = new Date(Date.now() - 3_600_000);
    await states.insertMany([
      { _id: 'account-binding', livemode: true, accountId: 'acct_1' },
      { _id: 'scan-completed:customer', at: completedAt },
    ]);
    const customers = database.db.collection<{ _id: string }>('stripe_customers');
    await customers.insertMany([{ _id: 'cus_1' }, { _id: 'cus_2' }, { _id: 'cus_3' }]);
    await customers.updateOne({ _id: 'cus_3' }, { $set: { '_sync.deletedAt': new Date() } });
    const [, running] = await lab.insert(
      { command: 'softDelete', stripeId: 'cus_1', _id: idOfAge(90_000) },
      { command: 'syncAll', status: 'running', startedAt: new Date(), lease: { owner: 'pod-a', fence: 1 } },
      { command: 'softDelete', stripeId: 'cus_1', runAt: new Date(Date.now() + 86_400_000) },
      { command: 'softDelete', stripeId: 'cus_1', status: 'failed', finishedAt: new Date() },
    );

    const told = await jsonStatus();
    const { stdout } = await status();

    expect(told).toMatchObject({
      database: database.name,
      mirrorOf: { accountId: 'acct_1', livemode: true },
      running: [{ _id: String(running), command: 'syncAll' }],
      waiting: { count: 2, due: 1 },
      kept: { failed: 1, partial: 0 },
      lastCompleteScanAt: completedAt.toISOString(),
      schedule: { expression: '0 3 * * *', timezone: 'Europe/Berlin' },
      mirror: { customer: { live: 2, deleted: 1 } },
      rate: { callsPerSecond: 5.2, limit: 20, limitPerEndpoint: 10, share: 1 },
    });
    const { next } = told['schedule'] as { next: string[] };
    expect(next).toHaveLength(3);
    expect(next.every((at) => new Date(at) > new Date())).toBe(true);
    const replicas = told['replicas'] as AnyDocument[];
    expect(replicas.map(({ owner, version, isAlive }) => [owner, version, isAlive])).toEqual([
      ['pod-b', '1.3.0', true],
      ['pod-a', '1.2.3', true],
    ]);
    expect(stdout).toMatch(/^waiting +1 due, the oldest for 1m3\ds?; 1 later$/m);
    expect(stdout).toMatch(/^rate +5.2 calls\/s, limit 20 \(per endpoint 10\)$/m);
    expect(stdout).toMatch(/^pod-a +1.2.3 .* a scan, 2 requests$/m);
    expect(Math.max(...stdout.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80);
  });
});

describe('a replica', () => {
  it('is no longer told of once it has stopped', async () => {
    const presence = await startReplica('stopping');

    await presence.stop();

    expect(await states.findOne({ _id: 'replica:stopping' })).toBeNull();
  });

  it('that ended without a word is told as gone, and forgotten by the next start a day later', async () => {
    const long = new Date(Date.now() - 3_600_000);
    const document = { ...vitals, everyMs: 10_000, startedAt: long };
    await states.insertMany([
      { ...document, _id: 'replica:killed', seenAt: long },
      { ...document, _id: 'replica:old', seenAt: new Date(Date.now() - 90_000_000) },
    ]);

    const { stdout } = await status();
    await startReplica('next');

    expect(stdout).toMatch(/^killed +1.2.3 +gone +1h ago$/m);
    expect(stdout).not.toMatch(/^old /m);
    await until(async () => !(await states.findOne({ _id: 'replica:old' })), { what: 'the old one to go' });
    expect(await states.findOne({ _id: 'replica:killed' })).not.toBeNull();
  });

  it('tells again and again that it is there, and goes on after MongoDB has cut it off', async () => {
    await startReplica('beating', {}, 50);
    const seenAt = async () => (await states.findOne({ _id: 'replica:beating' }))?.['seenAt'] as Date;
    const cut = await database.failCommand({ failCommands: ['update'], times: 3, closeConnection: true });
    await until(async () => (await cut.timesEntered()) >= 3, { what: 'three cut connections' });
    const before = await seenAt();

    expect(await until(async () => (await seenAt()) > before, { what: 'another beat' })).toBe(true);
  });
});
