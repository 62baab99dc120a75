// `npm run bench:peers`: this project beside the loops that most people write, on the same account, MongoDB and rate of Stripe, in one run.
// Last line JSON; its section of bench/RESULTS.md is written by every run of the default size.
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { releaseTo } from '../test/support/cleanup.js';
import { build } from './build.js';
import { runLoop, type Loop } from './loop.js';
import { table, writeSection } from './results.js';
import { startServer } from './scan-place.js';
import { inWords } from './scan-rows.js';
import { runScan } from './scan-run.js';

const defaults = { customers: 20_000, rate: 25, latency: 300 };
const optionsSchema = z.object({
  customers: z.coerce.number().int().min(1).max(1_000_000).default(defaults.customers),
  /** Calls per second that this project is given; the loops take what one cursor gives them. */
  rate: z.coerce.number().min(0).default(defaults.rate),
  latency: z.coerce.number().min(0).default(defaults.latency),
});

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: { customers: text, rate: text, latency: text, json: { type: 'boolean', default: false } },
});
const { json: isJson, ...given } = values;
const { customers, rate, latency } = optionsSchema.parse(given);
const account = { customers, latency, jitter: 0, distribution: 'growth' } as const;
const say = (line: string): void => {
  if (!isJson) process.stderr.write(`${line}\n`);
};

interface Figures {
  readonly seconds: number;
  readonly customersPerSecond: number;
  readonly peakRssMiB: number;
}

interface Peer {
  readonly who: string;
  readonly first: Figures;
  readonly again: Figures;
}

const loops: readonly (readonly [Loop, string])[] = [
  ['upsert-each', 'auto-paging, `findOneAndUpdate` a customer'],
  ['bulk-pages', 'one cursor, one bulk write a page'],
];

async function run(): Promise<{ peers: readonly Peer[]; version: string }> {
  say('Compiling; starting MongoDB and, in a process of its own, Stripe');
  const built = await build();
  const server = await startServer();
  const { simulator } = await server.open(account);
  const stripe = { url: simulator.url, key: simulator.restrictedKey };
  const peers: Peer[] = [];
  const add = async (who: string, once: () => Promise<Figures>): Promise<void> => {
    const peer = { who, first: await once(), again: await once() };
    say(`${who}: ${peer.first.seconds.toFixed(1)} s, again ${peer.again.seconds.toFixed(1)} s`);
    peers.push(peer);
  };
  for (const [name, who] of loops) {
    const { uri } = await server.database();
    await add(who, () => runLoop(name, built, { stripe, uri }));
  }
  const mongodb = await server.database();
  await add('this project', () => runScan({ daemon: built.daemon, stripe, mongodb }, { rate }));
  return { peers, version: server.version };
}

async function keep(peers: readonly Peer[], version: string): Promise<void> {
  const rows = peers.map(({ who, first, again }) => [
    who,
    first.seconds.toFixed(1),
    first.customersPerSecond.toLocaleString('en'),
    again.seconds.toFixed(1),
    again.customersPerSecond.toLocaleString('en'),
    String(Math.max(first.peakRssMiB, again.peakRssMiB)),
  ]);
  const body = [
    `${inWords(account, rate)}; a customer takes about 1,600 bytes in a page. The loops call as fast as one cursor lets them; they know nothing of removals, of late answers and of interruptions, and keep to no rate.`,
    table(['', 'first, s', 'customers/s', 'again, s', 'customers/s', 'peak MiB'], rows),
  ].join('\n\n');
  const command = 'npm run bench:peers';
  await writeSection({
    name: 'peers',
    title: 'Beside other loops',
    command,
    body,
    versions: { MongoDB: version },
  });
}

try {
  const { peers, version } = await run();
  const isDefault =
    customers === defaults.customers && rate === defaults.rate && latency === defaults.latency;
  if (isDefault) await keep(peers, version);
  process.stdout.write(`${JSON.stringify(peers)}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await releaseTo();
}
