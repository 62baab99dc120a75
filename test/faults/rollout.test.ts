// Rollouts: replicas come and go in the middle of long scans, and two versions work on one database.
import { describe, expect, test } from 'vitest';
import mongoose, { type mongo } from 'mongoose';
import { atEnd } from '../support/cleanup.js';
import type { Daemon } from '../support/daemon.js';
import { ours } from '../support/database.js';
import { type Fleet, openFleet } from '../support/fleet.js';
import { keepJournal } from '../support/journal.js';
import { Holder, idOfAge, quickSettings, type RequestDocument, resultOf } from '../support/requests.js';
import { until } from '../support/until.js';

const maxAttempts = 2;
/** More than the attempts of a request. */
const restarts = 5;

interface Lease {
  owner: string;
  fence: number;
}

const leaseOf = (request: RequestDocument): Lease => request['lease'] as Lease;

/** The one of these that works on the request; its owner's name holds its pid. */
function holderOf(request: RequestDocument, daemons: readonly Daemon[]): Daemon {
  const { owner } = leaseOf(request);
  const holder = daemons.find(({ pid }) => owner.includes(`:${pid}:`));
  if (!holder) throw new Error(`${owner} is none of the replicas`);
  return holder;
}

/** A scan that takes longer than all restarts, until it is let go. */
const slowScan = async (settings = {}): Promise<Fleet> =>
  openFleet({
    simulated: { seed: { count: 12_000, distribution: 'growth' }, latency: { ms: 500 } },
    settings: { REQUESTS_MAX_ATTEMPTS: String(maxAttempts), STRIPE_MAX_IN_FLIGHT: '2', ...settings },
  });

test('a rolling restart never uses up the attempts of a long scan, and none of its work is lost', async () => {
  const fleet = await slowScan();
  const { user, simulator } = fleet;
  const journal = await keepJournal(user.requests);
  const daemons = await Promise.all([fleet.start(), fleet.start()]);
  const [scan] = await user.insert({ command: 'syncAll' });

  for (let restart = 1; restart <= restarts; restart += 1) {
    const running = await user.reaching(scan!, `at work for the ${restart}. time`, (request) => {
      return request['status'] === 'running' && leaseOf(request).fence >= restart;
    });
    const holder = holderOf(running, daemons);
    expect(await holder.stop()).toEqual({ code: 0, signal: null });
    daemons[daemons.indexOf(holder)] = await fleet.start();
  }
  const before = await user.requests.findOne({ _id: scan! });
  expect(['pending', 'running']).toContain(before?.['status']);
  simulator.setLatency(undefined);

  const ended = await user.ended(scan!);
  expect(ended).toMatchObject({ status: 'succeeded', result: { created: 12_000, unchanged: 0 } });
  expect(leaseOf(ended).fence).toBeGreaterThan(restarts);
  expect((await journal.ends()).get(String(scan))).toEqual(['succeeded']);
  expect(await fleet.differences()).toEqual([]);
});

test('a scan whose holders are killed one after the other goes on for as long as its checkpoint moves', async () => {
  const fleet = await slowScan();
  const { user, simulator } = fleet;
  const daemons = await Promise.all([fleet.start(), fleet.start()]);
  const [scan] = await user.insert({ command: 'syncAll' });

  for (let death = 1; death <= 3; death += 1) {
    const running = await user.reaching(scan!, `at a checkpoint of the ${death}. holder`, (request) => {
      const { fence } = leaseOf(request) as Partial<Lease>;
      return (
        request['status'] === 'running' &&
        fence === death &&
        request['progress'] !== undefined &&
        request['attempts'] === 1
      );
    });
    const holder = holderOf(running, daemons);
    holder.signal('SIGKILL');
    await holder.exit;
    daemons[daemons.indexOf(holder)] = await fleet.start();
  }
  simulator.setLatency(undefined);

  const ended = await user.ended(scan!);
  expect(ended).toMatchObject({ status: 'succeeded', lease: { fence: 4 } });
  expect(await fleet.differences()).toEqual([]);
});

describe('beside a newer version on one database', () => {
  const unknown = { command: 'syncEverythingElse', howFar: 'all' };

  test('a daemon leaves a command that it does not know to the other, from its insertion to its end', async () => {
    const fleet = await openFleet({ simulated: { seed: { count: 5 } } });
    const { user, uri } = fleet;
    const daemon = await fleet.start();
    // Longer ago than an unknown command is waited for.
    const [theirs] = await user.insert({ _id: idOfAge(20 * 60_000), ...unknown });
    expect(await user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });
    expect((await user.requests.findOne({ _id: theirs! }))?.['status'] ?? 'pending').toBe('pending');

    // What a newer version does is the same protocol with another list of commands.
    const connection = await mongoose.createConnection(uri).asPromise();
    atEnd(() => connection.close());
    const newer = new Holder(ours(connection.db!), 'newer', { ...quickSettings, leaseMs: 60_000 });
    const claimed = await newer.claims.claim(theirs!, [unknown.command]);
    const before = await user.requests.findOne({ _id: theirs! });
    expect(await user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });
    expect(await user.requests.findOne({ _id: theirs! })).toEqual(before);
    expect(await newer.renew(claimed!.claim, { progress: { done: 1 } })).toBe('held');
    const passing = { code: 'stripe_unavailable', message: 'Stripe did not answer' } as const;
    expect(await newer.requeue(claimed!.claim, 1, { kind: 'retry', error: passing, delayMs: 1 })).toBe(
      'held',
    );
    expect(await user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });
    const again = await newer.claims.claim(theirs!, [unknown.command]);
    expect(again?.claim).toMatchObject({ attempt: 2, fence: 2 });
    expect(await newer.finish(again!.claim, 2, { status: 'succeeded', result: resultOf() })).toBe('held');

    expect(await user.requests.findOne({ _id: theirs! })).toMatchObject({ status: 'succeeded', ...unknown });
    expect(daemon.errors()).toEqual([]);
  });

  test('a daemon works on with state that the other has written in its own way, and begins a scan anew whose checkpoint it cannot read', async () => {
    const fleet = await openFleet({ simulated: { seed: { count: 250 } } });
    const { user, db } = fleet;
    const first = await fleet.start({ SYNC_ALL_SCHEDULE: '0 3 * * *' });
    await user.run({ command: 'syncAll' });
    await first.stop();
    const [scan] = await user.insert({ command: 'syncAll' });
    const state = db.collection<mongo.BSON.Document & { _id: string }>('sync_state');
    await state.updateMany({}, { $set: { newer: { field: [1] } } });
    const checkpoint = { version: 2, requestId: String(scan), windows: [{ shape: 'another' }] };
    await state.updateOne({ _id: 'scan:customer' }, { $set: { checkpoint } });
    await state.insertOne({ _id: 'schedule:somethingNew', lastSlot: new Date(), every: 'hour' });

    const daemon = await fleet.start({ SYNC_ALL_SCHEDULE: '0 3 * * *' });
    const ended = await user.ended(scan!);

    expect(ended).toMatchObject({ status: 'succeeded', result: { unchanged: 250 } });
    expect(await state.findOne({ _id: 'schedule:somethingNew' })).toMatchObject({ every: 'hour' });
    expect(await state.countDocuments({ newer: { field: [1] } })).toBeGreaterThan(2);
    expect(daemon.errors()).toEqual([]);
    await until(async () => (await daemon.get('/readyz')).status === 200, { what: 'the daemon to be ready' });
  });
});
