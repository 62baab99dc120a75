// MongoDB is gone for a while, stands still or is slow: no daemon ends, none runs hot, and work goes on when it is back.
import { expect, test } from 'vitest';
import type { Daemon } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { databaseAt, openFleet } from '../support/fleet.js';
import { keepJournal } from '../support/journal.js';
import { startReplicaSet } from '../support/mongodb.js';
import { until } from '../support/until.js';

const unreadyWithinMs = 15_000;
const awayMs = 20_000;
const goesOnWithinMs = 15_000;

const cpuSeconds = async (daemon: Daemon): Promise<number> =>
  (await daemon.samples()).get('process_cpu_seconds_total') ?? NaN;
const residentBytes = async (daemon: Daemon): Promise<number> =>
  (await daemon.samples()).get('process_resident_memory_bytes') ?? NaN;

async function untilReadyIs(daemon: Daemon, status: 200 | 503, timeoutMs: number): Promise<void> {
  await until(async () => (await daemon.get('/readyz')).status === status, {
    what: `readiness to be ${status}`,
    timeoutMs,
  });
}

test('while MongoDB is gone the daemon is alive, not ready, and neither busy nor growing; when it is back work goes on within 15 s', async () => {
  const server = await startReplicaSet();
  const fleet = await openFleet({
    simulated: { seed: { count: 800 }, latency: { ms: 100 } },
    database: databaseAt(server.uriFor('stripe')),
    settings: { STRIPE_MAX_IN_FLIGHT: '2' },
  });
  const { user, simulator } = fleet;
  const daemon = await fleet.start();
  await user.run({ command: 'syncAll' });
  simulator.updateRandom(100);
  // One that is in the middle when MongoDB goes, and some that wait.
  const held = simulator.hold({ endpoint: 'GET /v1/customers', when: 'after-compute', skip: 2 });
  const ids = await user.insert(
    { command: 'syncAll' },
    ...simulator
      .listIds()
      .slice(0, 20)
      .map((id) => ({ command: 'syncByIds', ids: [id] })),
  );
  await held.arrived;

  await server.members[0]!.kill();
  held.release();
  await untilReadyIs(daemon, 503, unreadyWithinMs);
  const goneAt = performance.now();
  const before = {
    cpu: await cpuSeconds(daemon),
    bytes: await residentBytes(daemon),
    lines: daemon.logs().length,
  };
  await until(() => performance.now() - goneAt > awayMs, {
    what: 'MongoDB to be away for long',
    timeoutMs: 2 * awayMs,
  });
  const seconds = (performance.now() - goneAt) / 1_000;

  expect((await daemon.get('/healthz')).status).toBe(200);
  expect(((await cpuSeconds(daemon)) - before.cpu) / seconds).toBeLessThan(0.25);
  expect((await residentBytes(daemon)) - before.bytes).toBeLessThan(50 * 1024 * 1024);
  const said = daemon
    .logs()
    .slice(before.lines)
    .filter(({ level }) => level !== 'debug');
  expect(said.length / seconds).toBeLessThan(2);

  await server.members[0]!.restart();
  await server.primary();
  const backAt = Date.now();
  const [first] = await user.allEnded(ids, 90_000);
  expect(first).toMatchObject({ status: 'succeeded' });
  const firstEnd = await user.requests.findOne(
    { finishedAt: { $gt: new Date(backAt) } },
    { sort: { finishedAt: 1 } },
  );
  expect((firstEnd!['finishedAt'] as Date).getTime() - backAt).toBeLessThan(goesOnWithinMs);
  await untilReadyIs(daemon, 200, 10_000);
  expect(await fleet.differences()).toEqual([]);
  expect(await daemon.stop()).toEqual({ code: 0, signal: null });
});

test('while MongoDB stands still readiness is false within 15 s and liveness stays; when it moves again work goes on', async () => {
  const server = await startReplicaSet();
  const fleet = await openFleet({
    simulated: { seed: { count: 50 } },
    database: databaseAt(server.uriFor('stripe')),
  });
  const daemon = await fleet.start();
  await fleet.user.run({ command: 'syncAll' });
  const [member] = server.members;

  await member!.freeze();
  await untilReadyIs(daemon, 503, unreadyWithinMs);
  expect((await daemon.get('/healthz')).status).toBe(200);
  member!.thaw();

  await untilReadyIs(daemon, 200, goesOnWithinMs);
  expect(await fleet.user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });
  expect(await daemon.stop()).toEqual({ code: 0, signal: null });
});

test('while every answer of MongoDB takes 4 s leases are renewed, and nothing is run twice to its end', async () => {
  const database = freshDatabase();
  const fleet = await openFleet({
    database,
    simulated: { seed: { count: 30 }, latency: { ms: 50 } },
    settings: { REQUESTS_LEASE_MS: '30000', REQUESTS_POLL_INTERVAL_MS: '5000' },
  });
  const { user, simulator } = fleet;
  const daemons = await Promise.all([fleet.start(), fleet.start()]);
  await user.run({ command: 'syncAll' });
  const journal = await keepJournal(user.requests);
  const held = simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'before-compute' });
  const slow = await database.failCommand({
    failCommands: ['findAndModify', 'update', 'find', 'insert', 'aggregate'],
    blockConnection: true,
    blockTimeMS: 4_000,
  });

  const [renewed, ...others] = await user.insert(
    { command: 'syncByIds', ids: simulator.listIds().slice(0, 1) },
    { command: 'syncByIds', ids: simulator.listIds().slice(0, 3) },
    { command: 'softDelete', stripeId: 'cus_none' },
  );
  await held.arrived;
  const leaseEnd = async (): Promise<Date> => {
    const found = await user.requests.findOne({ 'lease.expiresAt': { $exists: true } });
    return (found?.['lease'] as { expiresAt: Date }).expiresAt;
  };
  const first = await leaseEnd();
  await until(async () => (await leaseEnd()) > first, { what: 'the lease to be renewed', timeoutMs: 60_000 });
  held.release();

  const ended = await user.allEnded([renewed!, ...others], 120_000);
  await slow.off();
  expect(ended.map(({ attempts }) => attempts)).toEqual([1, 1, 1]);
  const ends = await journal.ends();
  for (const id of [renewed!, ...others]) expect(ends.get(String(id))).toHaveLength(1);
  for (const daemon of daemons) expect(await daemon.stop()).toEqual({ code: 0, signal: null });
});
