// The demo's story on the simulator: backfill by cron, one request of each command, changes, a second sync, metrics, stop.
import { startSimulator } from 'stripe-simulator';
import { atEnd } from '../test/support/cleanup.js';
import type { Checks } from './checks.js';
import { onOneLine } from './document.js';
import { type RequestDocument, Requests } from './follow.js';
import { counts, customers, noteInsertion, type Scene, show } from './scene.js';
import { document, heading, note, panels, samplesOf, total } from './show.js';
import { cancel, dedupe, dryRun } from './steering.js';
import { takeOver } from './takeover.js';
import {
  cronIn,
  leaseMs,
  pollIntervalMs,
  secondsToSlot,
  startDaemon,
  startMongoDB,
  watchMirror,
  type World,
} from './world.js';

const [changed, removed, added] = [20, 5, 10];

type Stay = (lines: readonly string[]) => Promise<void>;

export async function showAll(checks: Checks, stay?: Stay): Promise<void> {
  const scene = await open(checks);
  await backfill(scene);
  const madeUp = await oneRequestOfEachCommand(scene);
  const planned = await steering(scene);
  await changeAndSyncAgain(scene, madeUp + planned);
  await metrics(scene);
  const left = { ...scene, ...(await takeOver(scene)) };
  await stay?.(whatToType(left));
  await stop(left);
}

async function open(checks: Checks): Promise<Scene> {
  heading('Starting MongoDB, the Stripe simulator and the daemon');
  const { uri: mongodbUri, db } = await startMongoDB();
  note(`MongoDB    ${mongodbUri}`);
  const simulator = await startSimulator({
    seed: { count: customers, distribution: 'growth' },
    latency: { ms: 120, jitterMs: 60 },
    limits: { globalPerSecond: 100, endpointPerSecond: 25 },
    control: true,
  });
  atEnd(() => simulator.close());
  note(
    `Stripe     ${simulator.url} (a simulator on this machine: ${customers} customers, 120 ms a call, 25 calls/s an endpoint)`,
  );
  const settings = {
    STRIPE_API_KEY: simulator.restrictedKey,
    STRIPE_API_BASE: simulator.url,
    STRIPE_CALLS_PER_SECOND: '20',
    STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: '10',
    SYNC_ALL_SCHEDULE: cronIn(secondsToSlot),
    REQUESTS_LEASE_MS: String(leaseMs),
    REQUESTS_POLL_INTERVAL_MS: String(pollIntervalMs),
  };
  const replica = await startDaemon(mongodbUri, settings);
  note(
    `daemon     ${replica.http}/metrics (pid ${replica.daemon.pid}, its calls go through the official SDK, at most 10/s an endpoint)`,
  );
  return { mongodbUri, db, simulator, ...replica, requests: new Requests(db), checks, settings };
}

async function backfill({ requests, checks, db, settings }: Scene): Promise<void> {
  heading(`A cron tick backfills ${customers} customers`);
  note(
    `waiting for its slot: SYNC_ALL_SCHEDULE="${settings['SYNC_ALL_SCHEDULE'] ?? ''}" (seconds first, UTC)`,
  );
  const request = await requests.end(await requests.ofCron(), customers);
  document({
    status: request.status,
    requestedBy: request['requestedBy'] as unknown,
    result: request.result,
  });
  checks.equal('the scan succeeded', request.status, 'succeeded');
  checks.equal(`${customers} customers created`, counts(request), { created: customers });
  checks.equal(
    `${customers} documents in the mirror`,
    await db.collection('stripe_customers').countDocuments(),
    customers,
  );
}

/** @returns how many customers differ from Stripe afterwards */
async function oneRequestOfEachCommand(scene: Scene): Promise<number> {
  const { requests, checks, simulator } = scene;
  heading('Three more commands, inserted as a service in any language would');
  const [first, second, third] = simulator.listIds();
  simulator.update(String(first), { name: 'Changed in Stripe' });

  const byIds = { command: 'syncByIds', ids: [first, second, 'cus_unknown'] };
  const synced = await show(scene, byIds);
  checks.equal(
    'two of three could be synced',
    [synced.status, counts(synced)],
    ['partial', { updated: 1, unchanged: 1, failed: 1 }],
  );
  checks.equal('the unknown one is named', codes(synced), ['not_in_account']);

  const batch = [
    { ...simulator.get(String(second)), name: 'Held by the caller' },
    { id: third, metadata: { tier: 'gold' } },
  ];
  // Without observedAt a batch counts as observed in the second of its _id, and what was read later in that second would win.
  const held = await show(
    scene,
    { command: 'syncBatch', batch, observedAt: new Date() },
    `{\n  command: 'syncBatch', observedAt: new Date(),\n  batch: [ { …a whole customer }, ${onOneLine(batch[1])} ]\n}`,
  );
  checks.equal(
    'a whole customer and a part of one were taken without a call to Stripe',
    [held.status, counts(held)],
    ['succeeded', { updated: 2 }],
  );

  const mark = { command: 'softDelete', stripeId: third, dedupeKey: 'ticket-7' };
  const marked = await show(scene, mark);
  checks.equal(
    'one customer was marked as deleted',
    [marked.status, counts(marked)],
    ['succeeded', { deleted: 1 }],
  );
  await dedupe(scene, mark);

  const nonsense = { command: 'syncByIds', ids: ['../charges', 7] };
  noteInsertion(onOneLine(nonsense));
  const refusal = await requests
    .insert(nonsense)
    .catch((error: unknown) => (error instanceof Error ? error.message : undefined));
  note(`MongoDB: ${String(refusal)}`);
  checks.equal('MongoDB refuses nonsense when it is inserted', refusal, 'Document failed validation');
  return batch.length;
}

async function steering(scene: Scene): Promise<number> {
  heading('A dry run, and a request that is cancelled');
  const planned = await dryRun(scene);
  await cancel(scene);
  return planned;
}

/** `owed` customers differ from Stripe before: the sync sets them right as well. */
async function changeAndSyncAgain({ simulator, requests, checks, db }: Scene, owed: number): Promise<void> {
  heading(`${changed} customers change, ${removed} are deleted, ${added} are new; then a second sync`);
  note(`${owed} more differ from Stripe since the acts before: two by the batch, one after the dry run`);
  const ids = simulator.listIds();
  for (const id of ids.slice(100, 100 + changed)) simulator.update(id, { description: 'Changed in Stripe' });
  for (const id of ids.slice(2_000, 2_000 + removed)) simulator.delete(id);
  for (let index = 0; index < added; index += 1) simulator.create({ name: `New customer ${index + 1}` });
  const mirror = await watchMirror(db);

  noteInsertion(onOneLine({ command: 'syncAll' }));
  const request = await requests.end(await requests.insert({ command: 'syncAll' }), customers + added);
  const writes = await mirror.settle();
  document({ status: request.status, result: request.result });

  const expected = {
    created: added,
    updated: changed + owed,
    unchanged: customers - changed - owed - removed,
    deleted: removed,
  };
  checks.equal('the scan succeeded', request.status, 'succeeded');
  checks.equal(
    `${changed} updated (and ${owed} besides), ${removed} deleted, ${added} created, the rest unchanged`,
    counts(request),
    expected,
  );
  checks.equal(
    `MongoDB's change stream saw ${added} inserts and ${changed + owed + removed} updates: the unchanged cost no write`,
    writes,
    { insert: added, update: changed + owed + removed },
  );
  checks.equal('the mirror has whom Stripe has', await mirroredIds(db), simulator.listIds().sort());
  checks.equal('Stripe refused no call for its rate', simulator.refused, {});
  checks.equal('nothing was written to Stripe', simulator.writes, 0);
}

async function metrics({ http, checks }: Scene): Promise<void> {
  heading('What a dashboard would draw');
  const samples = samplesOf(await (await fetch(`${http}/metrics`)).text());
  panels(samples);
  checks.equal(
    'metrics count what was done',
    total(samples, 'stripe_sync_objects_total', { outcome: 'created' }),
    customers + added,
  );
  checks.equal('the daemon is alive', (await fetch(`${http}/healthz`)).status, 200);
}

async function stop({ daemon, checks }: Scene): Promise<void> {
  heading('SIGTERM');
  const started = performance.now();
  const { code } = await daemon.stop();
  note(`stopped after ${((performance.now() - started) / 1_000).toFixed(1)} s`);
  checks.equal('the daemon stopped with exit code 0', code, 0);
}

const whatToType = ({ mongodbUri, http, simulator }: Scene): string[] => {
  const command = `MONGODB_URI="${mongodbUri}" npx tsx src/main.ts`;
  return [
    '',
    'It is all yours until Ctrl-C. In another terminal, in this folder:',
    '',
    `${command} status`,
    `${command} sync-all`,
    `${command} requests list --all`,
    '',
    `curl -s ${simulator.url}/_simulator/update-random -d '{"n": 3}'   # 3 customers change at Stripe: sync-all again`,
    `curl -s -u ${simulator.key}: "${simulator.url}/v1/customers?limit=1"`,
    `curl -s ${http}/metrics | grep ^stripe_sync`,
    '',
    `mongosh "${mongodbUri}"`,
    "  db.sync_requests.insertOne({ command: 'syncAll' })",
    '  db.sync_requests.find().sort({ _id: -1 }).limit(1)',
    '  db.stripe_customers.findOne()',
  ];
};

const codes = ({ result }: RequestDocument): string[] =>
  (result?.items ?? []).flatMap(({ code }) => (code === undefined ? [] : [code]));

/** Those that Stripe has not confirmed as deleted. */
async function mirroredIds(db: World['db']): Promise<string[]> {
  const found = await db
    .collection<{ _id: string }>('stripe_customers')
    .find({ '_sync.deletedBy': { $ne: 'stripe' } }, { projection: { _id: 1 } })
    .toArray();
  return found.map(({ _id }) => _id).sort();
}
