// The simulator in its own process: the same operations over its control API, and an end that nobody has to force.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type RemoteSimulator, spawnSimulator, startSimulator, stripeClient } from 'stripe-simulator';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCommandLine } from '../src/cli-options.js';

const INDEX = new URL('../src/index.ts', import.meta.url).href;
const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const PROJECT = fileURLToPath(new URL('../..', import.meta.url));

describe('a spawned simulator', () => {
  let simulator: RemoteSimulator;

  beforeAll(async () => {
    simulator = await spawnSimulator({ seed: { count: 20 }, limits: { globalConcurrency: 100 } });
  });
  afterAll(() => simulator.close());

  it('is changed from here as the one in this process is', async () => {
    const stripe = stripeClient(simulator);
    await simulator.clear();

    const { id } = await simulator.create({
      name: 'Ada',
      metadata: JSON.parse('{"__proto__":"kept"}') as never,
    });
    await simulator.update(id, { name: 'Grace' });
    const raw = await simulator.createRaw('{"id":"cus_raw","created":1,"name":"\\ud800"}');
    await simulator.seed({ count: 30, from: 10, to: 20, distribution: 'same-second' });
    const [updated] = await simulator.updateRandom(1);
    const [deleted] = await simulator.deleteRandom(1);

    const retrieved = await stripe.customers.retrieve(id);
    expect(deleted === id ? undefined : Object.entries((retrieved as { metadata: object }).metadata)).toEqual(
      deleted === id ? undefined : [['__proto__', 'kept']],
    );
    expect(raw).toBe('cus_raw');
    expect(updated).toBeDefined();
    expect(await simulator.get(deleted!)).toEqual({ id: deleted, object: 'customer', deleted: true });
    expect(await simulator.get('cus_unknown')).toBeUndefined();
    expect(await simulator.listedCount()).toBe(31);
    expect(await simulator.listIds()).toHaveLength(31);
    expect((await simulator.list()).map((customer) => customer.id)).toEqual(await simulator.listIds());
  });

  it('reaches other accounts and modes', async () => {
    const live = simulator.mode({ accountId: 'acct_1Other', livemode: true });
    const { id } = await live.create({});
    const keys = await simulator.keys('acct_1Other');

    const customer = await stripeClient(simulator, keys.secretLive).customers.retrieve(id);

    expect(customer).toMatchObject({ id, livemode: true });
    expect(await simulator.get(id)).toBeUndefined();
  });

  it('takes faults, limits, latency, keys and its clock from here', async () => {
    const stripe = stripeClient(simulator);
    await simulator.reset();
    const fault = await simulator.fault({
      kind: 'status',
      status: 503,
      path: /^\/V1\/cust/i,
      times: Infinity,
    });
    await expect(stripe.customers.list()).rejects.toMatchObject({ statusCode: 503 });
    expect(await fault.hits()).toBe(1);
    await fault.remove();

    await simulator.setLimits({ endpointPerSecond: { 'GET /v1/customers': 0 } });
    await expect(stripe.customers.list()).rejects.toMatchObject({ statusCode: 429 });
    await simulator.setLimits(undefined);

    const key = ['sk', 'test', 'added1234'].join('_');
    await simulator.addKey(key);
    await simulator.expireKey(key);
    await expect(stripeClient(simulator, key).customers.list()).rejects.toMatchObject({
      code: 'api_key_expired',
    });

    await simulator.setClockOffset(86_400_000);
    await simulator.setLatency({ ms: 30, computeAt: 'random' });
    const page = await stripe.customers.list();
    const ahead = Date.parse(page.lastResponse.headers['date']!) - Date.now();
    await simulator.setLatency(undefined);

    expect(ahead).toBeGreaterThan(86_390_000);
    const calls = await simulator.requests();
    expect(calls.at(-1)!.answeredAt! - calls.at(-1)!.arrivedAt).toBeGreaterThanOrEqual(28);
    expect((await simulator.stats()).refused).toEqual({ 'endpoint-rate': 1 });
  });

  it('refuses orders that make no sense, and says why', async () => {
    await expect(simulator.setLatency({ ms: -1 })).rejects.toThrow(/ms/);
    await expect(simulator.delete('cus_unknown')).rejects.toThrow('has no customer cus_unknown');
    const unknown = await fetch(`${simulator.url}/_simulator/fly`, { method: 'POST' });
    expect(unknown.status).toBe(400);
  });
});

describe('the control API', () => {
  it('is closed unless asked for', async () => {
    await using simulator = await startSimulator();

    const answer = await fetch(`${simulator.url}/_simulator/stats`, { method: 'POST' });

    expect(answer.status).toBe(401);
  });
});

describe('the process', () => {
  it('of a test ends by itself once the simulator is closed, calls in flight or not', async () => {
    const script = `
      const { startSimulator } = await import(${JSON.stringify(INDEX)});
      const simulator = await startSimulator({ latency: { ms: 600_000 } });
      const headers = { authorization: 'Bearer ' + simulator.key };
      const call = fetch(simulator.url + '/v1/customers', { headers }).catch(() => 'lost');
      while (simulator.stats.inFlight === 0) await new Promise((resolve) => setImmediate(resolve));
      await simulator.close();
      console.log(await call);`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      cwd: PROJECT,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];

    expect(await once(child, 'close')).toEqual([0, null]);
    expect(line.toString()).toBe('lost\n');
  });

  it('ends with close, which may be called twice', async () => {
    const simulator = await spawnSimulator();

    await simulator.close();
    await simulator.close();

    expect(isRunning(simulator.pid)).toBe(false);
  });

  it('ends with code 0 when its parent closes its input', async () => {
    const child = run(['--customers', '5', '--live']);
    await once(child.stdout!, 'data');

    child.stdin!.end();

    expect(await once(child, 'close')).toEqual([0, null]);
  });

  it('ends when its parent is killed', async () => {
    const script = `const { spawn } = require('node:child_process');
      spawn(process.execPath, ['--import', 'tsx', ${JSON.stringify(MAIN)}], { stdio: ['pipe', 'inherit', 'inherit'] });`;
    const parent = spawn(process.execPath, ['-e', script], {
      cwd: PROJECT,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const { url } = JSON.parse(line.toString()) as { url: string };
    expect((await fetch(url)).status).toBe(401);

    parent.kill('SIGKILL');
    // The pipe that both wrote to ends when the last of them is gone.
    await once(parent.stdout, 'end');

    await expect(fetch(url)).rejects.toThrow('fetch failed');
  });

  it('explains a wrong command line and ends with code 2', async () => {
    const child = run(['--distribution', 'lumpy', '--customers', '1']);
    const complaints: string[] = [];
    child.stderr!.setEncoding('utf8').on('data', (text: string) => complaints.push(text));

    expect(await once(child, 'close')).toEqual([2, null]);
    expect(complaints.join('')).toMatch(/distribution[\s\S]*--customers <n>/);
  });

  it('takes all of its options from the command line', () => {
    const args = '--port 1 --customers 10 --distribution growth --rate 20 --endpoint-rate 10 --concurrency 4';
    const more = '--latency 300 --jitter 50 --compute-at random --live --log 0 --seed 3 --deleted-share 0.1';

    expect(parseCommandLine(`${args} ${more}`.split(' '))).toEqual({
      port: 1,
      livemode: true,
      logSize: 0,
      seed: { count: 10, distribution: 'growth', seed: 3, deletedShare: 0.1 },
      latency: { ms: 300, jitterMs: 50, computeAt: 'random' },
      limits: { globalPerSecond: 20, endpointPerSecond: 10, globalConcurrency: 4 },
    });
    expect(parseCommandLine(['--options', '{"logSize":5,"port":2}', '--port', '3'])).toEqual({
      logSize: 5,
      port: 3,
    });
  });
});

function run(args: string[]): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', MAIN, ...args], { cwd: PROJECT, stdio: 'pipe' });
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
