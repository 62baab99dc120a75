// The act of the demo in which a replica is killed in the middle of a scan, and another one goes on with it.
import { until } from '../test/support/until.js';
import { customers, counts, type Scene } from './scene.js';
import { document, heading, note } from './show.js';
import { leaseMs, pollIntervalMs, type Replica, startDaemon } from './world.js';

const list = 'GET /v1/customers';
/** A busy machine takes its time on top of lease and poll. */
const leewayMs = 3_000;

/** @returns the replica that is left */
export async function takeOver(scene: Scene): Promise<Replica> {
  const { requests, checks, simulator } = scene;
  heading('A second replica; then the one that scans is killed (SIGKILL)');
  const replicas = [scene, await startDaemon(scene.mongodbUri, scene.settings)];
  for (const [index, { daemon, http }] of replicas.entries())
    note(`replica ${index + 1}  pid ${daemon.pid}, ${http}/metrics`);
  const id = await requests.insert({ command: 'syncAll' });
  const { lease: first } = await requests.reaching(
    id,
    'half done',
    ({ progress }) => (progress?.done ?? 0) >= customers / 2,
  );
  const holder = replicas.find(({ owner }) => owner === first?.owner);
  const other = replicas.find((each) => each !== holder);
  if (!holder || !other) throw new Error(`No replica is the holder ${String(first?.owner)}`);

  holder.daemon.signal('SIGKILL');
  await holder.daemon.exit;
  const killedAt = performance.now();
  const { progress } = await requests.read(id);
  const listedBefore = simulator.stats.calls[list] ?? 0;
  note(`kill -9 ${holder.daemon.pid}, at ${progress?.done ?? 0} of ${customers} customers`);
  await until(async () => (await requests.read(id)).lease?.owner === other.owner, {
    what: 'the scan to be taken over',
    timeoutMs: 60_000,
  });
  const tookMs = performance.now() - killedAt;
  const expectedMs = leaseMs + pollIntervalMs;
  note(`taken over after ${(tookMs / 1_000).toFixed(1)} s (lease ${leaseMs} ms, poll ${pollIntervalMs} ms)`);
  checks.equal('the other one goes on within lease + poll', tookMs <= expectedMs + leewayMs, true);

  const ended = await requests.end(id, simulator.listIds().length);
  const wholePages = Math.ceil(simulator.listIds().length / 100);
  const listed = (simulator.stats.calls[list] ?? 0) - listedBefore;
  note(`it went on from the checkpoint: ${listed} pages, where a whole scan takes ${wholePages} or more`);
  note('(a checkpoint starts the count of attempts anew)');
  document({ status: ended.status, attempts: ended.attempts, history: ended.history, result: ended.result });
  checks.equal('the scan succeeded', ended.status, 'succeeded');
  checks.equal('what was done before the kill was not done again', listed < wholePages, true);
  checks.equal('not one customer was counted twice or left out', counts(ended), {
    unchanged: simulator.listIds().length,
  });
  return other;
}
