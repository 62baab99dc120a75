// How the daemon stops, and how others on the same database go on: nothing is lost, begun anew or done twice.
import type { mongo } from 'mongoose';
import { describe, expect, test, vi } from 'vitest';
import { type RecordedCall, startSimulator, type StripeSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import {
  countsOf,
  type Daemon,
  liveIds,
  said,
  type Settings,
  startDaemon,
  UserOfQueue,
} from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { until } from '../support/until.js';

async function startStripe(options: Parameters<typeof startSimulator>[0]): Promise<StripeSimulator> {
  const simulator = await startSimulator(options);
  atEnd(() => simulator.close());
  return simulator;
}

// Four processes one after the other: on a busy machine each start takes its time.
vi.setConfig({ testTimeout: 60_000 });

const isList = ({ endpoint }: RecordedCall): boolean => endpoint === 'GET /v1/customers';

const cursorOf = ({ url }: RecordedCall): string | null =>
  new URL(url, 'http://stripe').searchParams.get('starting_after');

interface Held {
  database: FreshDatabase;
  user: UserOfQueue;
  daemon: Daemon;
  request: mongo.ObjectId;
}

interface StoredCheckpoint {
  checkpoint: { windows: { done: boolean; cursor: string | null }[]; result: { created: number } };
}

test('SIGTERM in the middle of a scan stores a checkpoint, and another daemon goes on from there', async () => {
  const database = freshDatabase();
  const user = new UserOfQueue(database.db);
  const simulator = await startStripe({
    seed: { count: 5_000, distribution: 'growth' },
    latency: { ms: 100 },
  });
  const settings = { STRIPE_MAX_IN_FLIGHT: '4', SHUTDOWN_TIMEOUT_MS: '5000', REQUESTS_LEASE_MS: '20000' };
  const first = startDaemon(database, simulator, settings);
  await first.ready();
  // However slow the machine is, the scan cannot be over before it is stopped.
  const held = simulator.hold({ endpoint: 'GET /v1/customers', when: 'before-compute', skip: 10 });
  const [scan] = await user.insert({ command: 'syncAll' });
  await held.arrived;
  await until(() => simulator.requests.filter(isList).length >= 20, { what: 'the middle of the scan' });

  const stoppedAt = performance.now();
  expect(await first.stop()).toEqual({ code: 0, signal: null });
  expect(performance.now() - stoppedAt).toBeLessThan(5_000);

  const waiting = await user.requests.findOne({ _id: scan! });
  expect(waiting).toMatchObject({
    status: 'pending',
    attempts: 0,
    history: [{ error: { code: 'shutdown' } }],
  });
  expect(waiting).not.toHaveProperty('lease.expiresAt');
  const stored = await database.db
    .collection<StoredCheckpoint & { _id: string }>('sync_state')
    .findOne({ _id: 'scan:customer' });
  const { windows, result } = stored!.checkpoint;
  expect(await database.db.collection('stripe_customers').countDocuments()).toBe(result.created);
  expect(result.created).toBeGreaterThan(500);
  expect(result.created).toBeLessThan(5_000);

  held.release();
  const before = simulator.requests.filter(isList);
  const second = startDaemon(database, simulator, settings);
  await second.ready();
  const ended = await user.ended(scan!);
  const after = simulator.requests.filter(isList).slice(before.length);

  expect(ended).toMatchObject({ status: 'succeeded', attempts: 1 });
  expect(countsOf(ended)).toEqual({ created: 5_000 });
  expect(await liveIds(database.db)).toEqual(simulator.listIds().sort());
  const seen = new Set(before.map(cursorOf));
  const repeated = after.filter((call) => cursorOf(call) !== null && seen.has(cursorOf(call)));
  expect(repeated.length).toBeLessThanOrEqual(windows.length);
  // What was settled is not listed again: the rest, a last page a window, and the catch-up.
  expect(after.length).toBeLessThanOrEqual((5_000 - result.created) / 100 + 2 * windows.length + 2);
});

test('a second signal ends the daemon at once, and nothing is lost', async () => {
  const database = freshDatabase();
  const user = new UserOfQueue(database.db);
  const simulator = await startStripe({ seed: { count: 3 } });
  const ids = simulator.listIds();
  const held = simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'before-compute' });
  const settings = { REQUESTS_LEASE_MS: '3000' };
  const first = startDaemon(database, simulator, settings);
  await first.ready();
  const [request] = await user.insert({ command: 'syncByIds', ids });
  await held.arrived;

  first.signal('SIGTERM');
  await first.waitForLine(said('Stopping'));
  expect((await first.get('/readyz')).status).toBe(503);
  const secondAt = performance.now();
  first.signal('SIGTERM');

  expect(await first.exit).toEqual({ code: 1, signal: null });
  expect(performance.now() - secondAt).toBeLessThan(2_000);
  expect(await user.requests.findOne({ _id: request! })).toMatchObject({ status: 'running', attempts: 1 });

  held.release();
  const second = startDaemon(database, simulator, settings);
  const ended = await user.ended(request!);
  expect(ended).toMatchObject({
    status: 'succeeded',
    attempts: 2,
    history: [{ error: { code: 'lease_lost' } }, {}],
  });
  expect(countsOf(ended)).not.toHaveProperty('failed');
  expect(await liveIds(database.db)).toEqual([...ids].sort());
  expect(await second.stop()).toEqual({ code: 0, signal: null });
});

describe('while MongoDB is slow', () => {
  const budgetMs = 8_000;
  const settings = { SHUTDOWN_TIMEOUT_MS: String(budgetMs), REQUESTS_LEASE_MS: '60000' };
  const shortBudgetMs = 4_000;

  /** A daemon in the middle of a request that does not come to an end. */
  async function openHeld(own: Settings = {}): Promise<Held> {
    const database = freshDatabase();
    const user = new UserOfQueue(database.db);
    const simulator = await startStripe({ seed: { count: 3 } });
    const held = simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'before-compute' });
    const daemon = startDaemon(database, simulator, { ...settings, ...own });
    await daemon.ready();
    const [request] = await user.insert({ command: 'syncByIds', ids: simulator.listIds() });
    await held.arrived;
    return { database, user, daemon, request: request! };
  }

  test('a stop that has lost much of its time to the schedule still gives back what it works on', async () => {
    const { database, user, daemon, request } = await openHeld({ SYNC_ALL_SCHEDULE: '0 3 1 1 *' });
    const slow = await database.failCommand({
      failCommands: ['find'],
      namespace: `${database.name}.sync_state`,
      blockConnection: true,
      blockTimeMS: 3_000,
    });
    await until(() => slow.timesEntered(), { what: 'a look of the schedule' });

    const stoppedAt = performance.now();
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });

    expect(performance.now() - stoppedAt).toBeLessThan(budgetMs + 1_000);
    expect(await user.requests.findOne({ _id: request })).toMatchObject({
      status: 'pending',
      attempts: 0,
      history: [{ error: { code: 'shutdown' } }],
    });
  });

  test('what cannot be given back in time is told of, and the exit code says so', async () => {
    const { database, user, daemon, request } = await openHeld({
      SHUTDOWN_TIMEOUT_MS: String(shortBudgetMs),
    });
    await database.failCommand({
      failCommands: ['update'],
      namespace: `${database.name}.sync_requests`,
      blockConnection: true,
      blockTimeMS: shortBudgetMs + 2_000,
    });

    const stoppedAt = performance.now();
    expect(await daemon.stop()).toEqual({ code: 1, signal: null });

    expect(performance.now() - stoppedAt).toBeLessThan(shortBudgetMs + 1_000);
    const told = daemon.errors().filter(({ step }) => step === 'worker');
    expect(told).toMatchObject([
      { err: { message: expect.stringMatching(/did not stop in time: 1;/) as unknown } },
    ]);
    expect(await user.requests.findOne({ _id: request })).toMatchObject({ status: 'running' });
  });
});

test('two daemons on one database share the work and do nothing twice', async () => {
  const database = freshDatabase();
  const user = new UserOfQueue(database.db);
  const simulator = await startStripe({ seed: { count: 200 }, latency: { ms: 20 } });
  const ids = simulator.listIds();
  // Long enough that no lease runs out because the machine is slow.
  const settings = { REQUESTS_LEASE_MS: '20000', REQUESTS_CONCURRENCY: '4' };
  const daemons = [startDaemon(database, simulator, settings), startDaemon(database, simulator, settings)];
  await Promise.all(daemons.map((daemon) => daemon.ready()));

  const requests = await user.insert(
    ...ids.slice(0, 100).map((id) => ({ command: 'syncByIds', ids: [id] })),
    { command: 'syncAll' },
    ...ids.slice(100).map((id) => ({ command: 'syncByIds', ids: [id] })),
  );
  const ended = await user.allEnded(requests);

  expect(ended.filter(({ status, attempts }) => status !== 'succeeded' || attempts !== 1)).toEqual([]);
  expect(ended.filter(({ lease }) => (lease as { fence: number }).fence !== 1)).toEqual([]);
  const owners = new Set(ended.map(({ lease }) => (lease as { owner: string }).owner));
  expect(owners.size).toBe(2);
  const retrieved = simulator.requests.filter(({ endpoint }) => endpoint === 'GET /v1/customers/{id}');
  expect(retrieved.map(({ url }) => url.split('/').at(-1)).sort()).toEqual([...ids].sort());
  expect(await liveIds(database.db)).toEqual([...ids].sort());
  const counted = await Promise.all(daemons.map((daemon) => daemon.samples()));
  const total = (name: string): number => counted.reduce((sum, samples) => sum + (samples.get(name) ?? 0), 0);
  expect(total('stripe_sync_requests_total{command="syncByIds",status="succeeded"}')).toBe(200);
  expect(total('stripe_sync_requests_total{command="syncAll",status="succeeded"}')).toBe(1);
  expect(daemons.flatMap((daemon) => daemon.errors())).toEqual([]);
});
