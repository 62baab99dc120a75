// How the image runs: as Kubernetes runs it under Pod Security `restricted`, in the memory that the chart grants, against a real mongod and
// the Stripe simulator. Prints the figures that docs/deploy.md tells.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { countsOf, type LogFields, UserOfQueue } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { type Container, imageUnderTest, runInContainer, startContainer } from '../support/docker.js';
import { freePort } from '../support/process.js';
import { until } from '../support/until.js';

const image = imageUnderTest();
const budgetMs = 25_000;
const mostPeakMib = 200;

/** As small as the chart's limit, and with nothing that `restricted` forbids. */
const restricted = [
  '--read-only',
  '--cap-drop=ALL',
  '--security-opt=no-new-privileges',
  '--memory=256m',
  '--memory-swap=256m',
];
const asShipped = [
  ...restricted,
  '--user=10001',
  '--network=host',
  '--health-interval=1s',
  '--health-retries=1',
];
const quick = {
  SYNC_ALL_SCHEDULE: '',
  STRIPE_CALLS_PER_SECOND: '0',
  STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: '0',
  HTTP_HOST: '127.0.0.1',
};

async function startStripe(count: number): Promise<StripeSimulator> {
  const simulator = await startSimulator({ seed: { count, distribution: 'growth' } });
  atEnd(() => simulator.close());
  return simulator;
}

/** The lines of its log; what is no JSON would be a fault. */
async function logOf(container: Container): Promise<LogFields[]> {
  const { stdout } = await container.logs();
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as LogFields]));
}

const said = async (container: Container, message: string): Promise<LogFields> =>
  until(async () => (await logOf(container)).find(({ msg }) => msg === message), {
    what: `the container to say "${message}"`,
    timeoutMs: 30_000,
  });

/** In MiB: the most that the daemon itself has had resident, and that all of the container has used, health checks and page cache included. */
async function peaksOf(container: Container): Promise<{ daemonMib: number; containerMib: number }> {
  const status = await container.execute('cat', '/proc/1/status');
  const counter = ['/sys/fs/cgroup/memory.peak', '/sys/fs/cgroup/memory/memory.max_usage_in_bytes'].join(' ');
  const peak = await container.execute('sh', '-c', `cat ${counter} 2>/dev/null || true`);
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? [];
  return { daemonMib: Math.round(Number(kib) / 1024), containerMib: Math.round(Number(peak) / 2 ** 20) };
}

test('in 256 MB and without any privilege it becomes healthy, syncs 10,000 customers and ends with 0', async () => {
  const database = freshDatabase();
  const user = new UserOfQueue(database.db);
  const simulator = await startStripe(10_000);
  const port = String(await freePort());
  const container = await startContainer(image, {
    options: asShipped,
    env: {
      ...quick,
      HTTP_PORT: port,
      STRIPE_API_KEY: simulator.restrictedKey,
      STRIPE_API_BASE: simulator.url,
      MONGODB_URI: database.uri,
    },
  });
  const { startMs } = await said(container, 'Started');
  await container.health('healthy');

  const [scan] = await user.insert({ command: 'syncAll' });
  const ended = await user.ended(scan!);
  expect({ status: ended['status'], counts: countsOf(ended) }).toEqual({
    status: 'succeeded',
    counts: { created: 10_000 },
  });
  expect(await database.db.collection('stripe_customers').countDocuments()).toBe(10_000);
  const peaks = await peaksOf(container);
  console.info('start-up and peak of memory', JSON.stringify({ startMs, ...peaks }));
  expect(peaks.daemonMib).toBeLessThan(mostPeakMib);

  // In the middle of the next one, which cannot be over before.
  const held = simulator.hold({ endpoint: 'GET /v1/customers', when: 'before-compute', skip: 10 });
  const [next] = await user.insert({ command: 'syncAll' });
  await held.arrived;
  const { code, afterMs } = await container.stop();
  console.info('stopped in the middle of a scan', JSON.stringify({ code, afterMs: Math.round(afterMs) }));
  expect({ code, state: await container.state() }).toMatchObject({ code: 0, state: { OOMKilled: false } });
  expect(afterMs).toBeLessThan(budgetMs);
  expect(await user.requests.findOne({ _id: next! })).toMatchObject({ status: 'pending', attempts: 0 });
  expect((await logOf(container)).filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
});

test('it runs as any user at all, and stays healthy while its key file is being replaced', async () => {
  const database = freshDatabase();
  const user = new UserOfQueue(database.db);
  const simulator = await startStripe(10);
  const folder = await mkdtemp(join(tmpdir(), 'image-secrets-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const keyFile = join(folder, 'api-key');
  await writeFile(keyFile, simulator.restrictedKey);
  await writeFile(join(folder, 'uri'), database.uri);
  await writeFile(
    join(folder, 'config.yaml'),
    `http: { host: 127.0.0.1, port: ${await freePort()} }\nstripe: { apiBase: '${simulator.url}' }\n`,
  );
  const container = await startContainer(image, {
    // OpenShift draws a high user id for each project, in the group 0.
    options: [...asShipped, '--user=1000680000:0', `--volume=${folder}:/run/given:ro`],
    env: {
      SYNC_ALL_SCHEDULE: '',
      CONFIG_FILE: '/run/given/config.yaml',
      STRIPE_API_KEY_FILE: '/run/given/api-key',
      MONGODB_URI_FILE: '/run/given/uri',
    },
  });
  await container.health('healthy');
  const [id] = await user.insert({ command: 'syncAll' });
  expect(await user.ended(id!)).toMatchObject({ status: 'succeeded', result: { created: 10 } });

  const emptiedAt = Date.now();
  await writeFile(keyFile, '');
  const state = await until(
    async () => {
      const now = await container.state();
      return now.Health?.Log?.some(({ Start }) => Date.parse(Start) > emptiedAt) === true && now;
    },
    { what: 'a health check without the key' },
  );
  expect(state.Health?.Status).toBe('healthy');
  expect((await container.stop()).code).toBe(0);
});

test('by itself it is healthy where HTTP_HOST says nothing, and unhealthy once the daemon hangs', async () => {
  const container = await startContainer(image, {
    // A network of its own without a way out: MongoDB cannot be reached, which is no reason to be killed.
    options: [
      ...restricted,
      '--network=none',
      '--health-interval=1s',
      '--health-retries=1',
      '--health-start-period=0s',
    ],
    env: { STRIPE_API_KEY: 'rk_test_0123456789abcdef', MONGODB_URI: 'mongodb://127.0.0.1/x' },
  });
  await container.health('healthy');

  await container.signal('STOP');

  await container.health('unhealthy');
});

test('check-config with nothing set ends with 2 and names everything that is missing', async () => {
  const run = await runInContainer(image, {
    options: [...restricted, '--network=none'],
    command: ['check-config'],
  });

  expect(run.code).toBe(2);
  expect(run.stdout).toBe('');
  expect(run.stderr).toContain('STRIPE_API_KEY is required (or stripe.apiKey, STRIPE_API_KEY_FILE)');
  expect(run.stderr).toContain('MONGODB_URI is required (or mongodb.uri, MONGODB_URI_FILE)');
  expect(run.stderr).not.toMatch(/\n\s+at /);
});
