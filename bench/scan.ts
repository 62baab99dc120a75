// `npm run bench:scan -- --customers 100000`: a full sync of simulated customers by the real code in a process of its own, with customers
// per second and peak memory. Last line JSON. STRIPE_API_BASE (with STRIPE_API_KEY) points it at another server.
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { atEnd, releaseTo } from '../test/support/cleanup.js';
import { startReplicaSet } from '../test/support/mongodb.js';
import { startProcess } from '../test/support/process.js';
import { spawnSimulator } from '../test/simulator/index.js';

const number = z.coerce.number().min(0);
const optionsSchema = z.object({
  customers: z.coerce.number().int().min(1).max(4_000_000).default(100_000),
  /** Calls per second, over all and for each endpoint; 0: unlimited. */
  rate: number.default(0),
  latency: number.default(0),
  jitter: number.default(0),
  distribution: z.enum(['uniform', 'growth', 'spike', 'same-second']).default('growth'),
  'in-flight': z.coerce.number().int().min(1).max(256).default(16),
});

const { values } = parseArgs({
  options: {
    customers: { type: 'string' },
    rate: { type: 'string' },
    latency: { type: 'string' },
    jitter: { type: 'string' },
    distribution: { type: 'string' },
    'in-flight': { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const { json: isJson, ...given } = values;
const options = optionsSchema.parse(given);
const say = (text: string): void => void process.stderr.write(isJson ? '' : `${text}\n`);

async function stripeServer(): Promise<{ STRIPE_API_BASE: string; STRIPE_API_KEY: string }> {
  const { STRIPE_API_BASE, STRIPE_API_KEY } = process.env;
  if (STRIPE_API_BASE !== undefined)
    return { STRIPE_API_BASE, STRIPE_API_KEY: STRIPE_API_KEY ?? 'rk_test_bench' };
  const { customers: count, distribution, latency: ms, jitter: jitterMs } = options;
  const simulator = await spawnSimulator({
    seed: { count, distribution },
    latency: { ms, jitterMs },
    logSize: 0,
  });
  atEnd(() => simulator.close());
  return { STRIPE_API_BASE: simulator.url, STRIPE_API_KEY: simulator.restrictedKey };
}

try {
  say(`Starting MongoDB and, in a process of its own, Stripe with ${options.customers} customers`);
  const replicaSet = await startReplicaSet({ enableTestCommands: false });
  const server = await stripeServer();
  say('Scanning');
  const scanning = startProcess({
    entry: 'bench/scan-process.ts',
    env: {
      ...server,
      MONGODB_URI: replicaSet.uriFor('bench'),
      STRIPE_CALLS_PER_SECOND: String(options.rate),
      STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: String(options.rate),
      STRIPE_MAX_IN_FLIGHT: String(options['in-flight']),
      LOG_LEVEL: 'error',
    },
  });
  const { code } = await scanning.exit;
  const last = scanning.lines.at(-1);
  if (code !== 0 || last?.json === undefined)
    throw new Error(scanning.lines.map(({ text }) => text).join('\n'));
  const { customersPerSecond, peakRssMiB, seconds, pages } = last.json;
  say(
    `${String(customersPerSecond)} customers a second, ${String(seconds)} s, ${String(pages)} pages, at most ${String(peakRssMiB)} MiB`,
  );
  process.stdout.write(`${last.text}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await releaseTo();
}
