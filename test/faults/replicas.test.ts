// What several replicas do as one: scans one at a time, cron's slots once, and all of it also without a replica set.
import { expect, test } from 'vitest';
import { type Daemon, said } from '../support/daemon.js';
import { databaseAt, openFleet, withClockOff } from '../support/fleet.js';
import { startStandalone } from '../support/mongodb.js';
import type { RequestDocument } from '../support/requests.js';
import { until } from '../support/until.js';
import { expectAllDone, insertMix } from '../support/workload.js';

/** Of those that ran, by their begin: the ends of the ones before. */
function overlaps(ended: readonly RequestDocument[]): number {
  const spans = ended
    .filter(({ status }) => status !== 'coalesced')
    .map(({ startedAt, finishedAt }) => [startedAt as Date, finishedAt as Date] as const)
    .sort(([a], [b]) => a.getTime() - b.getTime());
  return spans.slice(1).filter(([begin], index) => begin < spans[index]![1]).length;
}

test('of three replicas one scans at a time, and equal scans that wait end with the one that runs for them', async () => {
  const fleet = await openFleet({ simulated: { seed: { count: 600 }, latency: { ms: 60 } } });
  const { user } = fleet;
  await Promise.all([fleet.start(), fleet.start(), fleet.start()]);

  const ids = await user.insert(
    ...Array.from({ length: 6 }, () => ({ command: 'syncAll' })),
    ...Array.from({ length: 4 }, () => ({ command: 'syncAll', dryRun: true })),
  );
  await user.reaching(ids[0]!, 'begun', ({ status }) => status !== undefined && status !== 'pending');
  const later = await user.insert({ command: 'syncAll' }, { command: 'syncAll' });
  const ended = await user.allEnded([...ids, ...later], 60_000);

  expect(overlaps(ended)).toBe(0);
  const byId = new Map(ended.map((request) => [String(request._id), request]));
  for (const request of ended) {
    if (request['status'] !== 'coalesced') continue;
    const into = byId.get(String(request['coalescedInto']));
    expect(into?.['status']).toBe('succeeded');
    expect(into?.['dryRun']).toBe(request['dryRun']);
  }
  // One for each kind, and one more for those that came when it had begun.
  expect(ended.filter(({ status }) => status === 'succeeded').length).toBeLessThanOrEqual(4);
  expect(await fleet.differences()).toEqual([]);
});

interface Decision {
  slot: string;
  outcome: string;
}

const decisionsOf = (daemon: Daemon): Decision[] =>
  daemon.logs().flatMap(({ msg, slot, outcome }) => {
    if (msg !== 'Slot of the schedule decided') return [];
    return [{ slot: String(slot), outcome: String(outcome) }];
  });

test('a slot of cron comes once over three replicas whose clocks are an hour apart, and at its time', async () => {
  const fleet = await openFleet({
    simulated: { seed: { count: 10 } },
    settings: { SYNC_ALL_SCHEDULE: '*/2 * * * * *' },
  });
  const startedAt = Date.now();
  const daemons = await Promise.all([
    fleet.start(),
    fleet.start(withClockOff(3_600_000)),
    fleet.start(withClockOff(-3_600_000)),
  ]);
  const decided = (): Decision[] => daemons.flatMap(decisionsOf).filter(({ outcome }) => outcome !== 'lost');

  await until(() => decided().length >= 8, { what: 'eight slots', timeoutMs: 60_000 });
  for (const daemon of daemons) expect(await daemon.stop()).toEqual({ code: 0, signal: null });

  const slots = decided().map(({ slot }) => slot);
  expect(slots.length).toBe(new Set(slots).size);
  for (const slot of slots) {
    expect(Date.parse(slot)).toBeGreaterThan(startedAt - 4_000);
    expect(Date.parse(slot)).toBeLessThanOrEqual(Date.now());
  }
  const inserted = decided().filter(({ outcome }) => outcome === 'inserted' || outcome === 'caught_up');
  expect(await fleet.user.requests.countDocuments({ requestedBy: 'cron' })).toBe(inserted.length);
  const winners = daemons.filter((daemon) => decisionsOf(daemon).some(({ outcome }) => outcome !== 'lost'));
  expect(winners.length).toBeGreaterThan(0);
});

test('without a replica set the replicas poll, each says so once, and a killed one loses nothing', async () => {
  const server = await startStandalone();
  const fleet = await openFleet({
    simulated: { seed: { count: 300 }, latency: { ms: 100 } },
    database: databaseAt(server.uriFor('stripe')),
  });
  const [killed, other] = await Promise.all([fleet.start(), fleet.start()]);
  await fleet.user.run({ command: 'syncAll' });

  const ids = await insertMix(fleet, 1);
  await fleet.user.requests.findOne({ status: 'running' });
  killed.signal('SIGKILL');
  await killed.exit;

  await expectAllDone(fleet, undefined, ids, { pid: killed.pid, at: new Date() });
  const warnings = other.logs().filter(({ msg }) => msg.includes('no change streams'));
  expect(warnings).toHaveLength(1);
  expect(other.errors()).toEqual([]);
});

test('what daemons write wakes none of them, a scan of one least of all', async () => {
  const fleet = await openFleet({
    simulated: { seed: { count: 2_000 }, latency: { ms: 100 } },
    // So slow to poll that what they search for is what woke them.
    settings: { REQUESTS_POLL_INTERVAL_MS: '60000', REQUESTS_LEASE_MS: '3000', STRIPE_MAX_IN_FLIGHT: '2' },
  });
  const daemons = await Promise.all([fleet.start(), fleet.start()]);
  await Promise.all(daemons.map((daemon) => daemon.waitForLine(said('Started'))));
  await fleet.user.run({ command: 'softDelete', stripeId: 'cus_none' });
  await fleet.db.command({ profile: 2 });

  await fleet.user.run({ command: 'syncAll' });

  await fleet.db.command({ profile: 0 });
  const searches = await fleet.db
    .collection('system.profile')
    .find({
      ns: `${fleet.db.databaseName}.sync_requests`,
      'command.find': 'sync_requests',
      'command.sort': { $exists: true },
    })
    .toArray();
  const renewals = await fleet.db.collection('system.profile').countDocuments({
    ns: `${fleet.db.databaseName}.sync_requests`,
    'command.findAndModify': 'sync_requests',
  });
  expect(renewals).toBeGreaterThan(2);
  // The scan's insertion itself, and its end, may have each look once.
  expect(searches.length).toBeLessThanOrEqual(8);
});
