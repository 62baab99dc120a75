// The daemon that bench/requests.ts measures: as in the image, in a process of its own, with its defaults but for what is said here.
import { samplesOf } from '../test/support/daemon.js';
import { type RunningProcess, startProcess } from '../test/support/process.js';
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

/** Starts it, and waits until it works. */
export async function startBenchDaemon(
  { program, uri, simulator }: DaemonPlace,
  { wakeUps = 'stream', rate, profile }: DaemonOptions,
): Promise<BenchDaemon> {
  const [all, endpoint] = rate === 'limited' ? ['20', '10'] : ['0', '0'];
  const daemon = startProcess({
    entry: program,
    args: ['run'],
    nodeArgs: [...nodeFlags, ...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`])],
    env: {
      MONGODB_URI: uri,
      STRIPE_API_BASE: simulator.url,
      STRIPE_API_KEY: simulator.restrictedKey,
      STRIPE_CALLS_PER_SECOND: all,
      STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: endpoint,
      SYNC_ALL_SCHEDULE: '',
      ...(wakeUps === 'polling' && { REQUESTS_CHANGE_STREAM: 'false', REQUESTS_POLL_INTERVAL_MS: '1000' }),
      HTTP_PORT: '0',
      LOG_FORMAT: 'json',
    },
  });
  await daemon.waitForLine(({ json }) => json?.['msg'] === 'Started', {
    what: 'the start',
    timeoutMs: 60_000,
  });
  const listening = daemon.lines.find(({ json }) => json?.['msg'] === 'Listening');
  const cpuSeconds = async (): Promise<number> => {
    const answer = await fetch(`${String(listening?.json?.['url'])}/metrics`);
    return samplesOf(await answer.text()).get('process_cpu_seconds_total') ?? Number.NaN;
  };
  return { ...daemon, cpuSeconds };
}
