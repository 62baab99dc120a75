// `npm run bench:scan -- --customers 100000 --rate 25 --latency 300`: one full sync by the real daemon, seen from outside; the last line is
// JSON. `-- --table` runs every row that the project promises and writes bench/RESULTS.md. STRIPE_API_BASE (with STRIPE_API_KEY) points one
// scan at another server.
import { parseArgs } from 'node:util';
import { z } from 'zod';
import type { CustomerBytes } from 'stripe-simulator';
import { releaseTo } from '../test/support/cleanup.js';
import { build } from './build.js';
import { type Server, startServer } from './scan-place.js';
import { nodeFlags, runScan, type ScanFigures } from './scan-run.js';
import { runTable } from './scan-table.js';

const number = z.coerce.number().min(0);
const optionsSchema = z.object({
  customers: z.coerce.number().int().min(1).max(4_000_000).default(100_000),
  /** How long each customer is in a page, about: 1600, or 2500 with more metadata. */
  'customer-bytes': z.coerce
    .number()
    .pipe(z.literal([1600, 2500]))
    .default(1600),
  /** Calls per second, over all and for each endpoint; 0: unlimited. */
  rate: number.default(0),
  latency: number.default(0),
  jitter: number.default(0),
  distribution: z.enum(['uniform', 'growth', 'spike', 'same-second']).default('growth'),
  /** Calls in flight at the most; the daemon's own choice by default. */
  'in-flight': z.coerce.number().int().min(1).max(256).optional(),
  /** Options of Node for the daemon, in one argument. */
  'node-options': z.string().optional(),
  /** Scans one after the other on the same mirror. */
  times: z.coerce.number().int().min(1).default(1),
  /** Rows of the table by their names; all by default, and only then the results are kept. */
  only: z.string().optional(),
});
type Options = z.output<typeof optionsSchema>;

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: {
    customers: text,
    'customer-bytes': text,
    rate: text,
    latency: text,
    jitter: text,
    distribution: text,
    'in-flight': text,
    'node-options': text,
    times: text,
    only: text,
    table: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const { json: isJson, table: isTable, ...given } = values;
const options = optionsSchema.parse(given);
const say = (line: string): void => {
  if (!isJson) process.stderr.write(`${line}\n`);
};

interface Stripe {
  readonly url: string;
  readonly key: string;
  /** Unknown of another server. */
  readonly customerBytes?: CustomerBytes;
}

async function stripeOf(server: Server, chosen: Options): Promise<Stripe> {
  const { STRIPE_API_BASE: url, STRIPE_API_KEY: key } = process.env;
  if (url !== undefined) return { url, key: key ?? 'rk_test_bench' };
  const { 'customer-bytes': customerBytes } = chosen;
  const { simulator } = await server.open({ ...chosen, customerBytes });
  return { url: simulator.url, key: simulator.restrictedKey, customerBytes };
}

async function runOnce(chosen: Options): Promise<void> {
  const { rate, times, 'in-flight': inFlight, 'node-options': nodeOptions } = chosen;
  say('Compiling the daemon; starting MongoDB and, in a process of its own, Stripe');
  const { daemon } = await build();
  const server = await startServer();
  const stripe = await stripeOf(server, chosen);
  const mongodb = await server.database();
  const settings = { rate, inFlight, nodeFlags: nodeOptions?.split(' ') ?? nodeFlags };
  for (let time = 1; time <= times; time += 1) {
    say('Scanning');
    const figures = await runScan({ daemon, stripe, mongodb }, settings, { countsStoredWrites: time > 1 });
    say(inWords(figures, stripe));
    const { customerBytes } = stripe;
    const line = { ...figures, customerBytes, shareOfCeiling: shareOf(figures, rate) };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}

const shareOf = ({ customersPerSecond }: ScanFigures, rate: number): number | undefined =>
  rate === 0 ? undefined : Number((customersPerSecond / (rate * 100)).toFixed(4));

function inWords(figures: ScanFigures, { customerBytes }: Stripe): string {
  const { customersPerSecond, seconds, pages, writes, peakRssMiB, eventLoopDelayP99Ms } = figures;
  return [
    `${customersPerSecond} customers a second${customerBytes === undefined ? '' : ` of about ${customerBytes} bytes`}`,
    `${seconds} s`,
    `${pages} pages`,
    `${writes} writes`,
    `at most ${peakRssMiB} MiB`,
    `event loop delayed by ${eventLoopDelayP99Ms} ms (p99)`,
  ].join(', ');
}

try {
  if (isTable) {
    const areMet = await runTable({ only: options.only?.split(','), say, isJson });
    if (!areMet) process.exitCode = 1;
  } else {
    await runOnce(options);
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await releaseTo();
}
