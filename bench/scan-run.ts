// One full sync by the real daemon, compiled and with the Node options of the image, seen from outside: time, calls, writes, memory.
import { readFile } from 'node:fs/promises';
import { mongo } from 'mongoose';
import { said, samplesOf, untilReady, UserOfQueue } from '../test/support/daemon.js';
import { startProcess, type RunningProcess } from '../test/support/process.js';

/** The image sets the same (NODE_OPTIONS in the Dockerfile). */
export const nodeFlags = ['--max-semi-space-size=8', '--max-old-space-size=96'];

export interface ScanSettings {
  /** Calls per second, over all and for each endpoint; 0: unlimited. */
  readonly rate: number;
  /** Calls in flight at the most; the daemon's own choice where absent. */
  readonly inFlight?: number | undefined;
  readonly nodeFlags?: readonly string[] | undefined;
}

export interface ScanPlace {
  /** Absolute path of the compiled main.js. */
  readonly daemon: string;
  readonly stripe: { readonly url: string; readonly key: string };
  readonly mongodb: { readonly uri: string; readonly database: string };
}

export interface ScanFigures {
  readonly status: string;
  readonly customers: number;
  /** From the start of the request's attempt to its end, on MongoDB's clock. */
  readonly seconds: number;
  readonly customersPerSecond: number;
  /** Calls to list, the catch-up included. */
  readonly pages: number;
  /** Of all calls besides, such as those that prove removals. */
  readonly otherCalls: number;
  /** Of customers, as the request's result says; `storedWrites` as MongoDB's oplog does, where that was asked for. */
  readonly writes: number;
  readonly storedWrites?: number;
  readonly living: number;
  readonly peakRssMiB: number;
  readonly eventLoopDelayP99Ms: number;
  /** Processor time of the daemon meanwhile. */
  readonly cpuSeconds: number;
}

export interface RunOptions {
  readonly countsStoredWrites?: boolean;
  /** Runs beside the scan, from when it was asked for. */
  readonly beside?: () => Promise<void>;
}

/** Starts a daemon, has it sync everything once, and stops it. Throws with what it said when it does not get that far. */
export async function runScan(
  place: ScanPlace,
  settings: ScanSettings,
  options: RunOptions = {},
): Promise<ScanFigures> {
  const client = new mongo.MongoClient(place.mongodb.uri);
  const daemon = startDaemon(place, settings);
  try {
    const { json } = await daemon.waitForLine(said('Listening'), { what: 'the port', timeoutMs: 60_000 });
    const base = String(json?.['url']);
    const metrics = async (): Promise<ReadonlyMap<string, number>> =>
      samplesOf(await (await fetch(`${base}/metrics`)).text());
    await untilReady((path) => fetch(base + path), 60_000);
    const db = client.db(place.mongodb.database);
    const before = await metrics(); // resets the event loop's histogram, too
    const startedWhen = await operationTime(db);
    const queue = new UserOfQueue(db);
    const [id] = await queue.insert({ command: 'syncAll' });
    const [request] = await Promise.all([queue.ended(id!, 3_600_000), options.beside?.()]);
    const after = await metrics();
    const peakRssMiB = await peakRss(daemon.pid, after);
    const storedWrites =
      options.countsStoredWrites === true ? await countWrites(client, db, startedWhen) : undefined;
    const living = await db.collection('stripe_customers_live').countDocuments();
    return {
      ...figuresOf(request, before, after),
      living,
      peakRssMiB,
      ...(storedWrites !== undefined && { storedWrites }),
    };
  } finally {
    await daemon.stop();
    await client.close();
  }
}

function startDaemon({ daemon, stripe, mongodb }: ScanPlace, settings: ScanSettings): RunningProcess {
  const { rate, inFlight } = settings;
  return startProcess({
    entry: daemon,
    args: ['run'],
    nodeArgs: [...(settings.nodeFlags ?? nodeFlags)],
    env: {
      STRIPE_API_BASE: stripe.url,
      STRIPE_API_KEY: stripe.key,
      MONGODB_URI: mongodb.uri,
      MONGODB_DATABASE: mongodb.database,
      STRIPE_CALLS_PER_SECOND: String(rate),
      STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: String(rate),
      ...(inFlight !== undefined && { STRIPE_MAX_IN_FLIGHT: String(inFlight) }),
      SYNC_ALL_SCHEDULE: '',
      HTTP_HOST: '127.0.0.1',
      HTTP_PORT: '0',
      LOG_FORMAT: 'json',
      LOG_LEVEL: 'info',
    },
  });
}

type Samples = ReadonlyMap<string, number>;

function figuresOf(
  request: Record<string, unknown>,
  before: Samples,
  after: Samples,
): Omit<ScanFigures, 'living' | 'peakRssMiB'> {
  const status = String(request['status']);
  const result = (request['result'] ?? {}) as Partial<Record<string, number>>; // the daemon writes counts
  if (status !== 'succeeded')
    throw new Error(`The scan ended ${status}: ${JSON.stringify(request['error'] ?? result)}`);
  const count = (name: string): number => result[name] ?? 0;
  const customers = ['created', 'updated', 'unchanged', 'stale', 'failed'].map(count).reduce((a, b) => a + b);
  const seconds = (Number(request['finishedAt']) - Number(request['startedAt'])) / 1_000;
  const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  const calls = (isList: boolean): number =>
    [...after.keys()]
      .filter((name) => name.startsWith('stripe_sync_stripe_calls_total{'))
      .filter((name) => name.includes('"GET /v1/customers"') === isList)
      .reduce((sum, name) => sum + grown(name), 0);
  return {
    status,
    customers,
    seconds,
    customersPerSecond: Math.round(customers / seconds),
    pages: calls(true),
    otherCalls: calls(false),
    writes: count('created') + count('updated') + count('deleted'),
    eventLoopDelayP99Ms: Math.round((after.get('nodejs_eventloop_lag_p99_seconds') ?? 0) * 1_000),
    cpuSeconds: Number(grown('process_cpu_seconds_total').toFixed(2)),
  };
}

/** Linux knows the peak; elsewhere what it is at the end has to do. */
async function peakRss(pid: number, metrics: Samples): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  const bytes = kib === undefined ? metrics.get('process_resident_memory_bytes') : Number(kib) * 1_024;
  return Math.round((bytes ?? 0) / 2 ** 20);
}

async function operationTime(db: mongo.Db): Promise<mongo.Timestamp> {
  const { operationTime: time } = await db.command({ hello: 1 });
  return time as mongo.Timestamp; // replica sets give it with every answer
}

/** What MongoDB really wrote to the mirror, by its oplog. */
async function countWrites(client: mongo.MongoClient, db: mongo.Db, since: mongo.Timestamp): Promise<number> {
  return client
    .db('local')
    .collection('oplog.rs')
    .countDocuments({
      ts: { $gt: since },
      ns: `${db.databaseName}.stripe_customers`,
      op: { $in: ['i', 'u', 'd'] },
    });
}
