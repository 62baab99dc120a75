// `npm run bench:requests`: how soon requests end beside a running scan, with the change stream and without, and how fast a backlog is
// worked off. Last line JSON; with --json nothing else, and bench/RESULTS.md stays as it is.
import { parseArgs } from 'node:util';
import { mongo } from 'mongoose';
import { z } from 'zod';
import { spawnSimulator } from 'stripe-simulator';
import { requests } from '../src/index.js';
import { atEnd, releaseTo } from '../test/support/cleanup.js';
import { startReplicaSet } from '../test/support/mongodb.js';
import { until } from '../test/support/until.js';
import { build } from './build.js';
import { measureBacklog } from './requests-backlog.js';
import { type BenchDaemon, type DaemonPlace, startBenchDaemon } from './requests-daemon.js';
import { apply, type Load, type Measured } from './requests-load.js';
import { reportOf, writeResults } from './requests-report.js';
import { middleBy } from './support/percentiles.js';

const optionsSchema = z.object({
  /** Insertions a second. */
  rate: z.coerce.number().min(1).max(2_000).default(200),
  /** How long each kind of request is inserted, in each round. */
  seconds: z.coerce.number().min(1).max(600).default(10),
  /** One pause of the machine makes a p99: of so many rounds the middle one counts. */
  rounds: z.coerce.number().int().min(1).max(20).default(3),
  /** Requests of the backlog. */
  backlog: z.coerce.number().int().min(1).max(100_000).default(5_000),
  /** At Stripe: what the scan beside goes through, again and again. */
  customers: z.coerce.number().int().min(10_000).max(1_000_000).default(50_000),
  /** A folder for CPU profiles of the daemons. */
  profile: z.string().optional(),
});

const { values } = parseArgs({
  options: {
    rate: { type: 'string' },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    backlog: { type: 'string' },
    customers: { type: 'string' },
    profile: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const { json: isJson, ...given } = values;
const options = optionsSchema.parse(given);
const say = (text: string): void => void process.stderr.write(isJson ? '' : `${text}\n`);

/** More than a page has: it comes in one piece. */
const wholePage = 1_000_000;

type Kind = 'softDelete' | 'syncBatch' | 'syncByIds';
type Kinds = Record<Kind, Measured>;

interface Bench extends DaemonPlace {
  readonly db: mongo.Db;
  readonly simulator: Awaited<ReturnType<typeof spawnSimulator>>;
  readonly version: string;
}

async function open(): Promise<Bench> {
  say('Compiling the daemon');
  const { daemon: program } = await build();
  say(`Starting MongoDB and, in a process of its own, Stripe with ${options.customers} customers`);
  const replicaSet = await startReplicaSet({ enableTestCommands: false });
  const uri = replicaSet.uriFor('bench');
  const client = await mongo.MongoClient.connect(uri, { appName: 'bench' });
  atEnd(() => client.close());
  const simulator = await spawnSimulator({
    seed: { count: options.customers, distribution: 'growth' },
    logSize: 0,
  });
  atEnd(() => simulator.close());
  const { version } = (await client.db().admin().serverInfo()) as { version: string };
  return { program, uri, db: client.db('bench'), simulator, version };
}

/** The mirror as it is after a first scan. */
async function fillMirror(bench: Bench): Promise<void> {
  const daemon = await startBenchDaemon(bench, { rate: 'unlimited' });
  const id = await requests.insert(bench.db, { command: 'syncAll' });
  await requests.result(bench.db, id, { timeoutMs: 600_000 });
  await daemon.stop();
}

/** One scan after the other until the returned function is called; it gives the number of those that were begun. */
function keepScanning({ db }: Bench): () => Promise<number> {
  const stopping = new AbortController();
  const scanning = (async () => {
    for (let begun = 1; ; begun += 1) {
      try {
        const id = await requests.insert(db, { command: 'syncAll' });
        await requests.result(db, id, { signal: stopping.signal });
      } catch (error) {
        if (stopping.signal.aborted) return begun;
        throw error;
      }
    }
  })();
  // Its failure is told by the function below.
  scanning.catch(() => undefined);
  return async () => {
    stopping.abort();
    return scanning;
  };
}

async function measureKinds(bench: Bench, wakeUps: 'stream' | 'polling'): Promise<Kinds> {
  const { db, simulator } = bench;
  const ids = await someIds(db, options.rate * (options.seconds + 10));
  const idAt = (index: number): string => ids[index % ids.length] ?? '';
  const { rate, seconds } = options;
  const load = (daemon: BenchDaemon, request: Load['request']): Promise<Measured> =>
    apply(db, { rate, seconds, request, daemon });
  const profile = options.profile === undefined ? {} : { profile: options.profile };

  say(`softDelete and syncBatch, ${wakeUps}`);
  const limited = await startBenchDaemon(bench, { wakeUps, rate: 'limited', ...profile });
  const stopScanning = keepScanning(bench);
  await scanRuns(db);
  const softDelete = await load(limited, (index) => ({ command: 'softDelete', stripeId: idAt(index) }));
  const syncBatch = await load(limited, (index) => ({
    command: 'syncBatch',
    batch: [{ id: idAt(index), metadata: { round: String(index) } }],
  }));
  await limited.stop();

  say(`syncByIds without a limit of calls, ${wakeUps}`);
  // A scan without a limit would take all of this machine: its pages are held up instead, so that about as many a second come as to the
  // limited one, and as from Stripe no two of them in the same time. (The last character of a cursor is as good as chance.)
  const slowPages = await Promise.all(
    ['[0-9A-F]', '[G-U]', '[V-Za-j]', undefined].map((last, index) =>
      simulator.fault({
        endpoint: 'GET /v1/customers',
        ...(last !== undefined && { path: new RegExp(`starting_after=\\w*${last}&`) }),
        kind: 'drip',
        everyMs: 900 + index * 100,
        bytes: wholePage,
        times: Infinity,
      }),
    ),
  );
  const unlimited = await startBenchDaemon(bench, { wakeUps, rate: 'unlimited', ...profile });
  await scanRuns(db);
  const syncByIds = await load(unlimited, (index) => ({ command: 'syncByIds', ids: [idAt(index)] }));
  for (const each of slowPages) await each.remove();
  await stopScanning();
  await unlimited.stop();
  await db
    .collection('sync_requests')
    .updateMany({ command: 'syncAll', finishedAt: null }, { $set: { cancel: true } });
  return { softDelete, syncBatch, syncByIds };
}

async function someIds(db: mongo.Db, count: number): Promise<string[]> {
  const found = await db
    .collection<{ _id: string }>('stripe_customers')
    .find({ '_sync.deletedAt': null }, { projection: { _id: 1 }, limit: count })
    .toArray();
  return found.map(({ _id }) => _id);
}

async function scanRuns(db: mongo.Db): Promise<void> {
  await until(() => db.collection('sync_requests').findOne({ command: 'syncAll', status: 'running' }), {
    what: 'the scan to run',
    timeoutMs: 30_000,
  });
}

// What was started ends with this process, and by no signal alone.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  const bench = await open();
  await fillMirror(bench);
  const rounds: { stream: Kinds; polling: Kinds }[] = [];
  for (let round = 1; round <= options.rounds; round += 1) {
    say(`Round ${round} of ${options.rounds}`);
    const stream = await measureKinds(bench, 'stream');
    rounds.push({ stream, polling: await measureKinds(bench, 'polling') });
  }
  const latencies = {
    stream: middleOf(rounds.map(({ stream }) => stream)),
    polling: middleOf(rounds.map(({ polling }) => polling)),
  };
  say(`A backlog of ${options.backlog}`);
  const backlog = await measureBacklog(bench, options.backlog);
  const report = reportOf({ ...options, latencies, backlog });
  if (!isJson) {
    const command = `npm run bench:requests${argumentsGiven()}`;
    say(await writeResults(report, { command, versions: { MongoDB: bench.version } }));
  }
  process.stdout.write(`${JSON.stringify(report)}\n`);
  if (!report.holds) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await releaseTo();
}

/** Of each kind the round with the middle p99. */
function middleOf(rounds: readonly Kinds[]): Kinds {
  const middle = (kind: Kind): Measured =>
    middleBy(
      rounds.map((kinds) => kinds[kind]),
      ({ latency }) => latency.p99Ms,
    );
  return { softDelete: middle('softDelete'), syncBatch: middle('syncBatch'), syncByIds: middle('syncByIds') };
}

function argumentsGiven(): string {
  const given = process.argv.slice(2);
  return given.length === 0 ? '' : ` -- ${given.join(' ')}`;
}
