// Two mirrors as a company may run them side by side: each a Stripe account, a database and replicas of the real daemon, which Prometheus
// scrapes under the labels that a ServiceMonitor would set.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from '../support/cleanup.js';
import { type Daemon, said, type Settings } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { type Fleet, openFleet } from '../support/fleet.js';
import type { Prometheus } from '../support/prometheus.js';
import { until } from '../support/until.js';

export interface Mirror extends Fleet {
  readonly job: string;
  readonly database: FreshDatabase;
  /** Starts one more replica and has it scraped; resolves when it was. */
  readonly startPod: (name: string) => Promise<Daemon>;
  /** Puts another key into the file that the replicas read theirs from. */
  readonly rotateKey: (key: string) => Promise<void>;
}

interface MirrorOptions {
  readonly job: string;
  readonly customers: number;
  readonly settings: Settings;
}

/** Paced, only faster than by default, with the memory that the image gives. */
const ofBoth: Settings = {
  STRIPE_CALLS_PER_SECOND: '40',
  STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: '30',
  STRIPE_MAX_IN_FLIGHT: '8',
  STRIPE_ATTEMPT_TIMEOUT_MS: '6000',
  // A lease that a busy machine does not lose.
  REQUESTS_LEASE_MS: '20000',
  REQUESTS_POLL_INTERVAL_MS: '1000',
  LOG_LEVEL: 'info',
  NODE_OPTIONS: '--max-semi-space-size=8 --max-old-space-size=96',
};

export const euJob = 'stripe-sync-eu';
export const usJob = 'stripe-sync-us';
export const pods = {
  [euJob]: [`${euJob}-5d8f-k2x9p`, `${euJob}-5d8f-w7c4m`],
  [usJob]: [`${usJob}-7b6c-t5h2q`],
};

export async function openMirrors(prometheus: Prometheus): Promise<{ eu: Mirror; us: Mirror }> {
  const [eu, us] = await Promise.all([
    openMirror(prometheus, {
      job: euJob,
      customers: 20_000,
      settings: { SYNC_ALL_SCHEDULE: '*/20 * * * * *', STRIPE_MONTHLY_READ_ALLOWANCE: '4000' },
    }),
    openMirror(prometheus, {
      job: usJob,
      customers: 12_000,
      settings: { SYNC_ALL_SCHEDULE: '*/30 * * * * *', STRIPE_MONTHLY_READ_ALLOWANCE: '20000' },
    }),
  ]);
  return { eu, us };
}

async function openMirror(
  prometheus: Prometheus,
  { job, customers, settings }: MirrorOptions,
): Promise<Mirror> {
  const folder = await mkdtemp(join(tmpdir(), 'stripe-key-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const keyFile = join(folder, 'key');
  const database = freshDatabase();
  const fleet = await openFleet({
    database,
    simulated: {
      accountId: `acct_1Simulated${job.slice(-2).toUpperCase()}`,
      seed: { count: customers, distribution: 'growth' },
      latency: { ms: 90, jitterMs: 50 },
    },
    settings: { ...ofBoth, ...settings, STRIPE_API_KEY_FILE: keyFile },
  });
  const rotateKey = (key: string): Promise<void> => writeFile(keyFile, key);
  await rotateKey(fleet.simulator.restrictedKey);
  return {
    ...fleet,
    job,
    database,
    rotateKey,
    startPod: async (pod) => {
      const daemon = await fleet.start();
      const { json } = await daemon.waitForLine(said('Listening'));
      await prometheus.scrape(new URL(String(json?.['url'])).host, labelsOf(job, pod));
      // A rate needs a sample from before the first event.
      await until(
        async () => (await prometheus.query(`stripe_sync_build_info{pod="${pod}"}`, now())).length > 0,
        { what: `${pod} to be scraped`, timeoutMs: 60_000 },
      );
      return daemon;
    },
  };
}

export const now = (): number => Date.now() / 1_000;

const labelsOf = (job: string, pod: string): Record<string, string> => ({
  cluster: 'production',
  namespace: 'payments',
  job,
  service: job,
  pod,
  container: 'stripe-mongo-sync',
  endpoint: 'http',
});
