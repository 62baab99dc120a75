// What happens to the two mirrors while Prometheus looks on: work of every kind, and faults of Stripe, of MongoDB and of those who ask.
// At its end both are in the middle of a scan of a Stripe that has become slow.
import type { FaultOrder, RateLimitReason } from 'stripe-simulator';
import type { Shown } from '../support/grafana.js';
import { type Prometheus, startPrometheus } from '../support/prometheus.js';
import type { AnyDocument } from '../support/requests.js';
import { until } from '../support/until.js';
import { euJob, type Mirror, now, openMirrors, pods, usJob } from './mirrors.js';

/** How long a busy machine may take over what is done within seconds. */
const busyMs = 120_000;

export interface Watched {
  readonly prometheus: Prometheus;
  /** From the first scrape to a moment at which everything there is to show was to be seen. */
  readonly shown: Shown;
}

/** Takes about a minute. */
export async function workUnderWatch(binary: string): Promise<Watched> {
  const prometheus = await startPrometheus(binary);
  const { eu, us } = await openMirrors(prometheus);
  const [first = '', second = '', third = ''] = [...pods[euJob], ...pods[usJob]];
  const from = now();
  await Promise.all([eu.startPod(first), us.startPod(third)]);
  // It is looked at every half minute only.
  await us.rotateKey(us.simulator.account('acct_1AnotherAccount').keys.restrictedTest);

  await Promise.all([firstScan(eu).then(() => eu.startPod(second)), firstScan(us)]);
  await Promise.all([requestsOfAllKinds(eu), requestsOfAllKinds(us)]);
  await Promise.all([faultsOfStripe(eu), faultsOfStripe(us)]);
  await faultsOfMongoDB(eu);
  await removalsHeld(eu);
  await Promise.all([slowScan(eu), slowScan(us)]);
  const to = await untilAllIsSeen(prometheus, () => haveScanWait(eu));
  return { prometheus, shown: { from, to } };
}

async function firstScan({ user, simulator }: Mirror): Promise<void> {
  await user.allEnded(await user.insert({ command: 'syncAll', requestedBy: 'deployment' }), busyMs);
  simulator.updateRandom(60);
  simulator.deleteRandom(5);
  for (let each = 0; each < 20; each += 1) simulator.create();
}

async function requestsOfAllKinds({ user, simulator }: Mirror): Promise<void> {
  const ids = simulator.listIds();
  const known = (from: number, count: number): string[] => ids.slice(from, from + count);
  const changed = known(100, 5).map((id) => simulator.update(id, { description: 'Changed' }));
  const requests: AnyDocument[] = [
    ...Array.from({ length: 10 }, (_each, index) => ({ command: 'syncByIds', ids: known(index * 10, 3) })),
    { command: 'syncByIds', ids: ['cus_MadeUp1', 'cus_MadeUp2'] },
    { command: 'syncByIds', ids: [...known(200, 3), 'cus_MadeUp3'] },
    { command: 'syncByIds', ids: known(300, 5), dryRun: true },
    { command: 'syncByIds', ids: 'cus_NoList' },
    { command: 'syncBatch', batch: changed },
    { command: 'syncBatch', batch: changed.map((customer) => ({ ...customer, livemode: true })) },
    { command: 'softDelete', stripeId: ids.at(-1) },
    { command: 'softDelete', stripeId: 'cus_MadeUp4' },
    { command: 'syncByIds', ids: known(400, 1), runAt: new Date(Date.now() + 3_600_000), cancel: true },
    { command: 'syncAll', dryRun: true },
  ];
  await user.allEnded(await user.insert(...requests), busyMs);
}

const reasons: readonly RateLimitReason[] = [
  'global-rate',
  'endpoint-rate',
  'global-concurrency',
  'endpoint-concurrency',
  'resource-specific',
];

/** Passing ones that calls are repeated after, and one that a request fails of. */
async function faultsOfStripe({ user, simulator }: Mirror): Promise<void> {
  const ids = simulator.listIds();
  const refused = ids[500] ?? '';
  const passing: FaultOrder[] = [
    ...reasons.map((reason) => ({ kind: 'rateLimit', reason, times: 2 }) as const),
    { kind: 'lockTimeout', times: 2 },
    { kind: 'status', status: 429, times: 2, body: { error: { type: 'invalid_request_error' } } },
    { kind: 'status', status: 500, times: 3 },
    { kind: 'status', status: 503, times: 2 },
    { kind: 'reset', times: 3 },
    { kind: 'html', times: 2 },
    { kind: 'truncate', times: 2 },
    { kind: 'stall' },
  ];
  const faults = [
    simulator.fault({ kind: 'status', status: 400, path: `/v1/customers/${refused}` }),
    ...passing.map((order) => simulator.fault({ endpoint: 'GET /v1/customers/{id}', ...order })),
  ];
  const asked = await user.insert(
    { command: 'syncByIds', ids: [refused] },
    ...Array.from({ length: 25 }, (_each, index) => ({
      command: 'syncByIds',
      ids: ids.slice(600 + index * 4, 604 + index * 4),
    })),
  );
  await user.allEnded(asked, busyMs);
  for (const fault of faults) fault.remove();
}

/** Cuts connections in the middle of writes to the mirror. */
async function faultsOfMongoDB({ user, simulator, database }: Mirror): Promise<void> {
  const failpoint = await database.failCommand({
    failCommands: ['update'],
    namespace: `${database.name}.stripe_customers`,
    closeConnection: true,
    times: 4,
  });
  const changed = simulator.updateRandom(40);
  await user.allEnded(
    await user.insert(...changed.map((id) => ({ command: 'syncByIds', ids: [id] }))),
    busyMs,
  );
  await failpoint.off();
}

/** More customers are gone than a scan removes without being told to. */
async function removalsHeld({ user, simulator, db }: Mirror): Promise<void> {
  simulator.deleteRandom(400);
  await user.insert({ command: 'syncAll', requestedBy: 'support' });
  await until(async () => db.collection('sync_requests').findOne({ 'result.removalsHeld': { $gt: 0 } }), {
    what: 'a scan to hold its removals',
    timeoutMs: busyMs,
  });
}

async function slowScan({ user, simulator }: Mirror): Promise<void> {
  simulator.setLatency({ ms: 2_500, jitterMs: 500 });
  await user.insert({ command: 'syncAll', requestedBy: 'support' });
}

/** One that comes while another runs, and so waits for its own turn. */
async function haveScanWait({ user }: Mirror): Promise<void> {
  const scan = { command: 'syncAll' };
  const count = (state: AnyDocument): Promise<number> => user.requests.countDocuments({ ...scan, ...state });
  const [running, waiting] = await Promise.all([
    count({ status: 'running' }),
    count({ status: 'pending', waitsFor: { $exists: false } }),
  ]);
  if (running > 0 && waiting === 0) {
    await user.insert({ ...scan, status: 'pending', requestedBy: 'support' });
  }
}

/** A moment, in unix seconds, at which Prometheus had all that comes up late or passes. */
async function untilAllIsSeen(prometheus: Prometheus, beforeLooking: () => Promise<void>): Promise<number> {
  const seen = [
    // Nothing is missing because a scrape was late.
    `count(count_over_time(up[5s]) >= 4 and min_over_time(up[5s]) == 1) == ${Object.values(pods).flat().length}`,
    // A scan that moves, and has not ended since: its gauge goes with it, while the slope lasts for seconds.
    ...[euJob, usJob].flatMap((job) => [
      `deriv(stripe_sync_scan_progress_ratio{job="${job}"}[4s]) > 0`,
      `stripe_sync_scan_progress_ratio{job="${job}"}`,
    ]),
    ...Object.values(pods)
      .flat()
      .map((pod) => `stripe_sync_mongodb_write_duration_seconds_count{pod="${pod}"} > 0`),
    // For long enough to be seen in a graph.
    `count_over_time(stripe_sync_oldest_pending_request_timestamp_seconds{job="${euJob}"}[10s]) >= 8`,
    `ALERTS{job="${euJob}", alertname="StripeSyncRemovalsHeld"}`,
    `ALERTS{job="${usJob}", alertname="StripeSyncAccountMismatch"}`,
  ];
  let missing: readonly string[] = seen;
  const look = async (): Promise<number | false> => {
    await beforeLooking();
    // All scrapes before it are over, so that the same question has the same answer later.
    const at = now() - 1;
    const found = await Promise.all(seen.map((expr) => prometheus.query(expr, at)));
    missing = seen.filter((_expr, index) => found[index]?.length === 0);
    return missing.length === 0 && at;
  };
  try {
    return await until(look, { what: 'everything to be seen at once', timeoutMs: busyMs, intervalMs: 250 });
  } catch (error) {
    throw new Error(`Not seen at once: ${missing.join(', ')}`, { cause: error });
  }
}
