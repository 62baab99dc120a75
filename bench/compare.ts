// `npm run bench:compare -- --against REV`: the daemon of another revision and this one, in turn on the same work: a first scan, a scan that
// finds nothing changed, and requests of each kind. What counts is processor time, which sways less than the clock; the last line is JSON.
import { parseArgs } from 'node:util';
import { mongo } from 'mongoose';
import { z } from 'zod';
import type { CommandInput } from '../src/index.js';
import { releaseTo } from '../test/support/cleanup.js';
import { until } from '../test/support/until.js';
import { build, buildRevision } from './build.js';
import { startBenchDaemon } from './requests-daemon.js';
import { type Database, startServer } from './scan-place.js';
import { runScan } from './scan-run.js';

const { values } = parseArgs({
  options: {
    against: { type: 'string' },
    pairs: { type: 'string' },
    customers: { type: 'string' },
    requests: { type: 'string' },
  },
});
const options = z
  .object({
    /** A revision of this repository. */
    against: z.string().min(1),
    pairs: z.coerce.number().int().min(2).max(100).default(9),
    customers: z.coerce.number().int().min(1_000).max(1_000_000).default(60_000),
    /** Of each kind. */
    requests: z.coerce.number().int().min(10).max(100_000).default(2_000),
  })
  .parse(values);
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const kinds = ['first scan', 'unchanged scan', 'softDelete', 'syncBatch', 'syncByIds'] as const;
type Kind = (typeof kinds)[number];
/** Seconds of processor time of the daemon. */
type Costs = Record<Kind, number>;
type CostsOfRequests = Pick<Costs, 'softDelete' | 'syncBatch' | 'syncByIds'>;

interface Place {
  readonly simulator: { readonly url: string; readonly restrictedKey: string };
  readonly database: Database;
}

async function measure(daemon: string, { simulator, database }: Place): Promise<Costs> {
  const stripe = { url: simulator.url, key: simulator.restrictedKey };
  const place = { daemon, stripe, mongodb: database };
  const first = await runScan(place, { rate: 0 });
  const unchanged = await runScan(place, { rate: 0 });
  return {
    'first scan': first.cpuSeconds,
    'unchanged scan': unchanged.cpuSeconds,
    ...(await costOfRequests(daemon, { simulator, database })),
  };
}

/** A part of a customer is the smallest batch. */
const commands: Readonly<Record<keyof CostsOfRequests, (id: string) => CommandInput>> = {
  softDelete: (stripeId) => ({ command: 'softDelete', stripeId }),
  syncBatch: (id) => ({ command: 'syncBatch', batch: [{ id, metadata: { by: 'compare' } }] }),
  syncByIds: (id) => ({ command: 'syncByIds', ids: [id] }),
};

/** Requests of one customer each, all there when the daemon is told of them; the ids are those of the mirror. */
async function costOfRequests(program: string, { simulator, database }: Place): Promise<CostsOfRequests> {
  const client = await mongo.MongoClient.connect(database.uri);
  try {
    const db = client.db(database.database);
    const daemon = await startBenchDaemon({ program, uri: database.uri, simulator }, { rate: 'unlimited' });
    const ids = (
      await db
        .collection<{ _id: string }>('stripe_customers')
        .find({}, { projection: { _id: 1 }, limit: options.requests, sort: { _id: 1 } })
        .toArray()
    ).map(({ _id }) => _id);
    const costs: CostsOfRequests = { softDelete: 0, syncBatch: 0, syncByIds: 0 };
    for (const [kind, command] of Object.entries(commands)) {
      const before = await daemon.cpuSeconds();
      const requestedBy = `compare ${kind}`;
      await db.collection('sync_requests').insertMany(ids.map((id) => ({ ...command(id), requestedBy })));
      await until(
        async () =>
          (await db.collection('sync_requests').countDocuments({ requestedBy, status: 'succeeded' })) ===
          ids.length,
        { what: `${requestedBy} to end`, timeoutMs: 300_000, intervalMs: 500 },
      );
      costs[kind as keyof CostsOfRequests] = (await daemon.cpuSeconds()) - before;
    }
    await daemon.stop();
    return costs;
  } finally {
    await client.close();
  }
}

/** Of the ratios new / old: their geometric mean, and bounds that hold it with 95 % (Student's t on logarithms). */
function ratioOf(pairs: readonly { readonly old: number; readonly new: number }[]) {
  const logs = pairs.map((pair) => Math.log(pair.new / pair.old));
  const mean = logs.reduce((sum, each) => sum + each, 0) / logs.length;
  const variance = logs.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (logs.length - 1);
  const half = tOf95(logs.length - 1) * Math.sqrt(variance / logs.length);
  const rounded = (value: number): number => Number(Math.exp(value).toFixed(3));
  return { ratio: rounded(mean), lower: rounded(mean - half), upper: rounded(mean + half) };
}

/** Two-sided 95 % quantile of Student's t; beyond the table that of 30 degrees, which is a little more. */
function tOf95(degrees: number): number {
  const quantiles = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
    2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
  ];
  return quantiles[Math.min(degrees, quantiles.length) - 1] ?? Infinity;
}

// What was started ends with this process, and by no signal alone.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  say(`Building ${options.against} and this checkout; starting MongoDB and Stripe's simulator`);
  const programs = { old: (await buildRevision(options.against)).daemon, new: (await build()).daemon };
  const server = await startServer();
  const { simulator } = await server.open({
    customers: options.customers,
    distribution: 'growth',
    latency: 0,
    jitter: 0,
  });
  const costs: { readonly old: Costs; readonly new: Costs }[] = [];
  for (let pair = 1; pair <= options.pairs; pair += 1) {
    // Whatever warms up or slows down in the course of a pair meets either of them as often.
    const order = pair % 2 === 1 ? (['old', 'new'] as const) : (['new', 'old'] as const);
    const measured: Partial<Record<'old' | 'new', Costs>> = {};
    for (const which of order) {
      const place = { simulator, database: await server.database() };
      measured[which] = await measure(programs[which], place);
    }
    const { old: before, new: after } = measured;
    if (!before || !after) throw new Error('A pair lacks one of its two');
    costs.push({ old: before, new: after });
    say(
      `Pair ${pair} of ${options.pairs}: ${kinds.map((kind) => `${kind} ${before[kind].toFixed(2)} → ${after[kind].toFixed(2)} s`).join(', ')}`,
    );
  }
  const ratios = Object.fromEntries(
    kinds.map((kind) => [kind, ratioOf(costs.map((pair) => ({ old: pair.old[kind], new: pair.new[kind] })))]),
  );
  process.stdout.write(`${JSON.stringify({ ...options, ratios })}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await releaseTo();
}
