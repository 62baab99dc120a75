// The daemon that bench/requests.ts measures: as in the image, in a process of its own, with its defaults but for what is said here.
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from '../test/support/cleanup.js';
import { samplesOf, untilReady } from '../test/support/daemon.js';
import { freePort, type RunningProcess, startProcess } from '../test/support/process.js';
import { nodeFlags } from './scan-run.js';

export interface DaemonOptions {
  /** What tells it of requests: the change stream, or a poll each second. */
  readonly wakeUps?: 'stream' | 'polling';
  /** Of calls to Stripe: that of a live key by default (10 a second an endpoint, 20 in all), or none. */
  readonly rate: 'limited' | 'unlimited';
  /** A folder for a CPU profile. */
  readonly profile?: string;
}

export interface BenchDaemon extends RunningProcess {
  /** Seconds of CPU that it has used. */
  cpuSeconds(): Promise<number>;
}

/** What a daemon is started beside. */
export interface DaemonPlace {
  /** Absolute path of the compiled main.js. */
  readonly program: string;
  readonly uri: string;
  readonly simulator: { readonly url: string; readonly restrictedKey: string };
}

/** Starts it, and waits until it works. Its log goes into a file, as in a cluster: this process, which waits for requests, has not to read it. */
export async function startBenchDaemon(
  { program, uri, simulator }: DaemonPlace,
  { wakeUps = 'stream', rate, profile }: DaemonOptions,
): Promise<BenchDaemon> {
  const [all, endpoint] = rate === 'limited' ? ['20', '10'] : ['0', '0'];
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'stripe-mongo-sync-log-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'daemon.log');
  const log = await open(path, 'w');
  const daemon = startProcess({
    entry: program,
    args: ['run'],
    nodeArgs: [...nodeFlags, ...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`])],
    stdout: log.fd,
    env: {
      MONGODB_URI: uri,
      STRIPE_API_BASE: simulator.url,
      STRIPE_API_KEY: simulator.restrictedKey,
      STRIPE_CALLS_PER_SECOND: all,
      STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: endpoint,
      SYNC_ALL_SCHEDULE: '',
      ...(wakeUps === 'polling' && { REQUESTS_CHANGE_STREAM: 'false', REQUESTS_POLL_INTERVAL_MS: '1000' }),
      HTTP_PORT: String(port),
      LOG_FORMAT: 'json',
    },
  });
  // The daemon has the file as its own by now.
  await log.close();
  const base = `http://127.0.0.1:${port}`;
  await Promise.race([
    untilReady((asked) => fetch(base + asked), 60_000),
    daemon.exit.then(async ({ code }) => {
      throw new Error(`The daemon ended with ${String(code)}; it said:\n${await readFile(path, 'utf8')}`);
    }),
  ]);
  const cpuSeconds = async (): Promise<number> => {
    const answer = await fetch(`${base}/metrics`);
    return samplesOf(await answer.text()).get('process_cpu_seconds_total') ?? Number.NaN;
  };
  return { ...daemon, cpuSeconds };
}
