// The real daemon behind a real egress proxy: Stripe has a name that only the proxy knows and a certificate that only the test's own
// authority vouches for.
import { beforeAll, describe, expect, test } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { type Authority, type Certificate, makeAuthority } from '../support/certificates.js';
import { atEnd } from '../support/cleanup.js';
import { type Daemon, liveIds, said, type Settings, startDaemon, UserOfQueue } from '../support/daemon.js';
import { freshDatabase, type FreshDatabase } from '../support/database.js';
import { type ProxyOptions, startProxy, startTls, type TestProxy } from '../support/proxy.js';
import { until } from '../support/until.js';

const stripeName = 'api.stripe.example';
const credentials = 'egress:Kanari%40Secret';

let authority: Authority;
let certificate: Certificate;

beforeAll(async () => {
  authority = await makeAuthority();
  certificate = await authority.certify(stripeName, 'localhost', '127.0.0.1');
});

interface Scene {
  database: FreshDatabase;
  user: UserOfQueue;
  simulator: StripeSimulator;
  /** Port that speaks TLS for the simulator. */
  port: number;
  proxy: TestProxy;
  start: (settings: Settings) => Daemon;
}

async function open(customers: number, options: ProxyOptions = {}): Promise<Scene> {
  const database = freshDatabase();
  const simulator = await startSimulator({ seed: { count: customers } });
  atEnd(() => simulator.close());
  const port = await startTls(certificate, simulator.port);
  const proxy = await startProxy({ routes: { [`${stripeName}:443`]: port }, ...options });
  const start = (settings: Settings): Daemon =>
    startDaemon(database, simulator, {
      STRIPE_API_BASE: `https://${stripeName}`,
      NODE_EXTRA_CA_CERTS: authority.file,
      ...settings,
    });
  return { database, user: new UserOfQueue(database.db), simulator, port, proxy, start };
}

const withCredentials = ({ port }: TestProxy): string => `http://${credentials}@127.0.0.1:${port}`;

describe('behind a proxy', () => {
  test('a full sync goes through it, within the limits and measured as ever', async () => {
    const { database, user, simulator, proxy, start } = await open(2_500, {
      credentials: decodeURIComponent(credentials),
    });
    const daemon = start({
      HTTPS_PROXY: withCredentials(proxy),
      STRIPE_MAX_IN_FLIGHT: '3',
      LOG_LEVEL: 'trace',
    });
    await daemon.ready();

    const request = await user.run({ command: 'syncAll' });

    expect(request).toMatchObject({ status: 'succeeded', result: { created: 2_500 } });
    expect(await liveIds(database.db)).toEqual(simulator.listIds().sort());
    expect(new Set(proxy.asked.map((each) => each.authority))).toEqual(new Set([`${stripeName}:443`]));
    expect(proxy.otherRequests).toEqual([]);
    expect(simulator.maxInFlight).toBeLessThanOrEqual(3);
    // Connections are kept: a tunnel serves many calls.
    expect(proxy.mostConnections()).toBeLessThanOrEqual(3);
    expect(proxy.asked.length).toBeLessThan(simulator.requests.length / 2);
    const samples = await daemon.samples();
    const calls = [...samples].filter(
      ([name]) => name.startsWith('stripe_sync_stripe_calls_total{') && name.includes('outcome="succeeded"'),
    );
    expect(calls.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThanOrEqual(26);

    const metrics = (await daemon.get('/metrics')).body;
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
    await until(() => proxy.connections() === 0, { what: 'all tunnels to end' });
    const told = [...daemon.lines.map(({ text }) => text), metrics, JSON.stringify(request)];
    expect(told.filter((text) => /kanari/i.test(text))).toEqual([]);
    expect(daemon.lines.filter(({ text }) => text.includes(proxy.url))).not.toEqual([]);
  });

  test('that speaks TLS itself, named in lower case, it works as well', async () => {
    const { user, simulator, proxy, start } = await open(3, { certificate });
    const daemon = start({ https_proxy: proxy.url });
    await daemon.ready();

    const request = await user.run({ command: 'syncByIds', ids: simulator.listIds() });

    expect(request).toMatchObject({ status: 'succeeded', result: { created: 3 } });
    expect(proxy.asked.length).toBeGreaterThan(0);
  });

  test.each(['NO_PROXY', 'no_proxy'])('hosts of %s are called directly', async (name) => {
    const { user, simulator, port, proxy, start } = await open(3);
    const daemon = start({
      STRIPE_API_BASE: `https://localhost:${port}`,
      HTTPS_PROXY: proxy.url,
      [name]: 'example.com,localhost',
    });
    await daemon.ready();

    const request = await user.run({ command: 'syncByIds', ids: simulator.listIds() });

    expect(request).toMatchObject({ status: 'succeeded', result: { created: 3 } });
    expect(proxy.asked).toEqual([]);
  });

  test('requests fail with its name while it refuses, and succeed once it does not', async () => {
    const { user, simulator, proxy, start } = await open(3, {
      credentials: decodeURIComponent(credentials),
    });
    const ids = simulator.listIds();
    const daemon = start({ HTTPS_PROXY: withCredentials(proxy) });
    await daemon.ready();
    proxy.behave({ kind: 'answer', status: 407 });

    const refused = await user.run({ command: 'syncByIds', ids, maxAttempts: 2 });
    proxy.behave({ kind: 'tunnel' });
    const mended = await user.run({ command: 'syncByIds', ids });

    expect(refused).toMatchObject({ status: 'failed', attempts: 2 });
    expect(JSON.stringify(refused)).toContain(`The proxy ${proxy.url} refused the credentials`);
    expect(JSON.stringify(refused)).not.toMatch(/kanari/i);
    expect(mended).toMatchObject({ status: 'succeeded', result: { created: 3 } });
  });
});

test('an authority that nobody vouches for is told of, with what to set', async () => {
  const { proxy, start } = await open(1);
  const daemon = start({ HTTPS_PROXY: proxy.url, NODE_EXTRA_CA_CERTS: '', STRIPE_CALL_DEADLINE_MS: '2000' });

  const line = await daemon.waitForLine(said('Stripe is unreachable at start; retrying'), {
    what: 'the complaint',
    timeoutMs: 60_000,
  });

  expect(JSON.stringify(line.json)).toContain('NODE_EXTRA_CA_CERTS');
});

test('a proxy that is none ends the daemon with the exit code of a bad configuration', async () => {
  const { start } = await open(0);
  const daemon = start({ HTTPS_PROXY: 'socks5://kanari:secret@127.0.0.1:1080' });

  expect(await daemon.exit).toEqual({ code: 2, signal: null });
  const told = daemon.lines.map(({ text }) => text).join('\n');
  expect(told).toContain('HTTPS_PROXY');
  expect(told).not.toMatch(/kanari/i);
});
