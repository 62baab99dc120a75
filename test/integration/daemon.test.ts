// The daemon as its own process, from its first line to its last: a real MongoDB, the SDK over HTTP to the simulator, requests by a plain driver.
import { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { type SimulatorOptions, startSimulator, type StripeSimulator } from 'stripe-simulator';
import { metricSpecs } from '../../src/metrics/catalog.js';
import { atEnd } from '../support/cleanup.js';
import {
  countsOf,
  type Daemon,
  liveIds,
  samplesOf,
  type Settings,
  startDaemon,
  UserOfQueue,
} from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { startStandalone } from '../support/mongodb.js';
import type { RequestDocument } from '../support/requests.js';
import { until } from '../support/until.js';

async function startStripe(options: SimulatorOptions = {}): Promise<StripeSimulator> {
  const simulator = await startSimulator(options);
  atEnd(() => simulator.close());
  return simulator;
}

interface Scene {
  db: mongo.Db;
  simulator: StripeSimulator;
  user: UserOfQueue;
  daemon: Daemon;
  /** Another one on the same database. */
  another: (settings?: Settings) => Daemon;
}

/** A daemon that is ready, on a database of its own. */
async function open(simulated: SimulatorOptions = {}, settings: Settings = {}): Promise<Scene> {
  const database = freshDatabase();
  const simulator = await startStripe(simulated);
  const another = (own: Settings = {}): Daemon => startDaemon(database, simulator, { ...settings, ...own });
  const daemon = another();
  await daemon.ready();
  return { db: database.db, simulator, user: new UserOfQueue(database.db), daemon, another };
}

const itemsOf = ({ result }: RequestDocument): { id: string; outcome: string; code?: string }[] =>
  (result as { items: { id: string; outcome: string; code?: string }[] }).items;

describe('a daemon', () => {
  test('is alive and says what it waits for until MongoDB is there, and then becomes ready', async () => {
    const server = await startStandalone();
    const simulator = await startStripe();
    await server.member.kill();

    const daemon = startDaemon({ uri: server.uriFor('stripe') }, simulator);
    const waiting = await daemon.get('/readyz');
    expect(waiting.status).toBe(503);
    expect(JSON.parse(waiting.body)).toEqual({
      status: 'failing',
      checks: [
        { name: 'startup', ok: false, message: 'Waiting for MongoDB' },
        { name: 'shutdown', ok: true },
        { name: 'mongodb', ok: false, message: 'Not connected' },
      ],
    });
    expect(await daemon.get('/healthz')).toMatchObject({ status: 200 });

    await server.member.restart();
    await daemon.ready();

    expect(await daemon.get('/healthz')).toMatchObject({ status: 200 });
  });

  test('says that it waits for Stripe, and not for MongoDB, while Stripe does not answer', async () => {
    const database = freshDatabase();
    const simulator = await startStripe();
    const fault = simulator.fault({ kind: 'status', status: 503, times: Infinity });

    const daemon = startDaemon(database, simulator);

    await until(async () => JSON.parse((await daemon.get('/readyz')).body) as unknown, { what: 'an answer' });
    await until(() => fault.hits > 0, { what: 'the first call to Stripe' });
    expect(JSON.parse((await daemon.get('/readyz')).body)).toMatchObject({
      checks: [
        { name: 'startup', ok: false, message: 'Waiting for Stripe' },
        { name: 'shutdown', ok: true },
        { name: 'mongodb', ok: true },
      ],
    });
    fault.remove();
    await daemon.ready();
  });

  test('works on a request of each command, and measures what it did', async () => {
    const { db, simulator, user, daemon } = await open({ seed: { count: 230 } });
    const [first, second, third] = simulator.listIds() as [string, string, string];

    const all = await user.run({ command: 'syncAll' });
    simulator.update(first, { name: 'Changed' });
    const byIds = await user.run({ command: 'syncByIds', ids: [first, second, 'cus_unknown'] });
    const unknown = await user.run({ command: 'syncByIds', ids: ['cus_unknown'] });
    const batch = await user.run({
      command: 'syncBatch',
      batch: [{ id: second, metadata: { tier: 'gold' } }],
      observedAt: new Date(),
    });
    const marked = await user.run({ command: 'softDelete', stripeId: third });
    const absent = await user.run({ command: 'softDelete', stripeId: 'cus_unknown' });

    expect(
      [all, byIds, unknown, batch, marked, absent].map((each) => [each['status'], countsOf(each)]),
    ).toEqual([
      ['succeeded', { created: 230 }],
      ['partial', { updated: 1, unchanged: 1, failed: 1 }],
      ['failed', { failed: 1 }],
      ['succeeded', { updated: 1 }],
      ['succeeded', { deleted: 1 }],
      ['failed', { failed: 1 }],
    ]);
    expect(itemsOf(byIds).find(({ outcome }) => outcome === 'failed')).toMatchObject({
      id: 'cus_unknown',
      code: 'not_in_account',
    });
    expect(unknown['error']).toMatchObject({ code: 'not_in_account' });
    expect(absent['error']).toMatchObject({ code: 'not_found' });
    expect(await liveIds(db)).toEqual(
      simulator
        .listIds()
        .filter((id) => id !== third)
        .sort(),
    );
    expect(simulator.writes).toBe(0);

    const { body } = await daemon.get('/metrics');
    for (const [name, { type }] of metricSpecs)
      expect(body).toContain(`# TYPE stripe_sync_${name} ${type}\n`);
    const samples = samplesOf(body);
    expect(
      Object.fromEntries([...samples].filter(([name, value]) => value !== 0 && wanted.includes(name))),
    ).toEqual({
      'stripe_sync_requests_total{command="syncAll",status="succeeded"}': 1,
      'stripe_sync_requests_total{command="syncByIds",status="partial"}': 1,
      'stripe_sync_requests_total{command="syncByIds",status="failed"}': 1,
      'stripe_sync_requests_total{command="syncBatch",status="succeeded"}': 1,
      'stripe_sync_requests_total{command="softDelete",status="succeeded"}': 1,
      'stripe_sync_requests_total{command="softDelete",status="failed"}': 1,
      'stripe_sync_objects_total{object="customer",outcome="created"}': 230,
      'stripe_sync_objects_total{object="customer",outcome="failed"}': 3,
      'stripe_sync_stripe_calls_total{endpoint="GET /v1/customers/{id}",outcome="not_found"}': 2,
      'stripe_sync_mirror_objects{object="customer",state="live"}': 229,
      'stripe_sync_mirror_objects{object="customer",state="deleted"}': 1,
      'stripe_sync_request_wait_seconds_count{lane="small"}': 5,
      'stripe_sync_request_wait_seconds_count{lane="scan"}': 1,
      stripe_sync_rate_limiter_calls_per_second: Infinity,
    });
    expect(
      samples.get('stripe_sync_last_complete_scan_timestamp_seconds{object="customer"}'),
    ).toBeGreaterThan(Date.now() / 1_000 - 60);
    expect(samples.has('stripe_sync_scan_progress_ratio')).toBe(false);
    expect(daemon.errors()).toEqual([]);
  });

  test('ends nonsense as failed with every fault named, and goes on', async () => {
    const { simulator, user } = await open({}, { REQUESTS_VALIDATION: 'off' });
    const { id } = simulator.create();

    const [odd, wordless, shouting, sound] = await user.insert(
      { command: 'syncByIds', ids: ['../charges\0', 7, ''], maxAttempts: 0, dryRun: 'yes' },
      { command: 42 },
      { command: 'syncAll', status: 'PENDING' },
      { command: 'syncByIds', ids: [id] },
    );

    expect((await user.ended(odd!))['error']).toMatchObject({
      code: 'invalid_request',
      faults: [
        expect.stringMatching(/^ids\[0\] must be an id such as cus_123 .*got a string of 11 characters/),
        expect.stringMatching(/^ids\[1\] must be an id .*got 7/),
        expect.stringMatching(/^ids\[2\] must be an id .*got ""/),
        expect.stringMatching(/^maxAttempts must be a whole number from 1 to 100, got 0/),
        expect.stringMatching(/^dryRun must be true or false, got "yes"/),
      ],
    });
    expect((await user.ended(wordless!))['error']).toMatchObject({ code: 'invalid_request' });
    expect((await user.ended(shouting!))['error']).toMatchObject({ code: 'invalid_request' });
    expect(await user.ended(sound!)).toMatchObject({ status: 'succeeded' });
    expect(simulator.requests.filter(({ url }) => url.includes('charges'))).toEqual([]);
  });

  test('scans when a cron slot comes', async () => {
    const { db, simulator, user, daemon } = await open(
      { seed: { count: 20 } },
      { SYNC_ALL_SCHEDULE: '* * * * * *' },
    );

    const request = await until(() => user.requests.findOne({ requestedBy: 'cron' }), { what: 'a slot' });

    expect(await user.ended(request._id)).toMatchObject({ command: 'syncAll', status: 'succeeded' });
    expect(await liveIds(db)).toEqual(simulator.listIds().sort());
    const slots = (await daemon.samples()).get(
      'stripe_sync_schedule_slots_total{schedule="syncAll",outcome="inserted"}',
    );
    expect(slots).toBeGreaterThanOrEqual(1);
  });

  test('without a replica set polls, says so once, and does all the same', async () => {
    const server = await startStandalone();
    const uri = server.uriFor('stripe');
    const simulator = await startStripe({ seed: { count: 120 } });
    const client = await mongo.MongoClient.connect(uri);
    atEnd(() => client.close());
    const user = new UserOfQueue(client.db());
    const daemon = startDaemon({ uri }, simulator, { REQUESTS_POLL_INTERVAL_MS: '100' });
    await daemon.ready();

    const [scan, one] = await user.insert(
      { command: 'syncAll' },
      { command: 'syncByIds', ids: [simulator.listIds()[0]] },
    );

    expect(await user.ended(scan!)).toMatchObject({ status: 'succeeded' });
    expect(await user.ended(one!)).toMatchObject({ status: 'succeeded' });
    expect(await liveIds(client.db())).toEqual(simulator.listIds().sort());
    const warnings = daemon.logs().filter(({ level }) => level !== 'info' && level !== 'debug');
    expect(warnings.map(({ msg }) => msg)).toEqual([expect.stringContaining('requests.pollIntervalMs')]);
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
  });
});

const wanted = [
  ...['syncAll', 'syncByIds', 'syncBatch', 'softDelete'].flatMap((command) =>
    ['succeeded', 'partial', 'failed'].map(
      (status) => `stripe_sync_requests_total{command="${command}",status="${status}"}`,
    ),
  ),
  ...['created', 'failed'].map(
    (outcome) => `stripe_sync_objects_total{object="customer",outcome="${outcome}"}`,
  ),
  'stripe_sync_stripe_calls_total{endpoint="GET /v1/customers/{id}",outcome="not_found"}',
  ...['live', 'deleted'].map((state) => `stripe_sync_mirror_objects{object="customer",state="${state}"}`),
  ...['scan', 'small'].map((lane) => `stripe_sync_request_wait_seconds_count{lane="${lane}"}`),
  'stripe_sync_rate_limiter_calls_per_second',
];
