// The clients of bench/requests.ts: they insert at a steady rate, whatever becomes of what was inserted, and wait for every end.
import { setTimeout as sleep } from 'node:timers/promises';
import type { mongo } from 'mongoose';
import { type RequestInput, requests } from '../src/index.js';
import { type Durations, durationsOf } from './support/percentiles.js';

export interface Load {
  /** Insertions a second. */
  readonly rate: number;
  /** How long, in seconds. */
  readonly seconds: number;
  readonly request: (index: number) => RequestInput;
  readonly daemon: { cpuSeconds(): Promise<number> };
}

export interface Measured {
  /** From the acknowledgement of the insertion until the waiting client has the request as it ended. */
  readonly latency: Durations;
  /** From the acknowledgement until a worker has claimed it, by MongoDB's clock. */
  readonly claimWait: Durations;
  /** Insertions a second that were reached. */
  readonly perSecond: number;
  /** Milliseconds of CPU that the daemon used for each request, with what the scan beside took meanwhile. */
  readonly daemonCpuMs: number;
}

interface Sample {
  readonly latencyMs: number;
  readonly claimWaitMs: number;
  readonly ackedAtMs: number;
}

/** At half the rate before, so that code, connections and caches are as in a process that has been at it for a while. */
export const warmUpSeconds = 10;
const endWithinMs = 120_000;

/** @throws Error when a request does not succeed */
export async function apply(db: mongo.Db, load: Load): Promise<Measured> {
  await insertAll(db, { ...load, rate: load.rate / 2, seconds: warmUpSeconds });
  const cpuBefore = await load.daemon.cpuSeconds();
  const samples = await insertAll(db, load);
  const cpuSeconds = (await load.daemon.cpuSeconds()) - cpuBefore;
  const acked = samples.map(({ ackedAtMs }) => ackedAtMs);
  return {
    latency: durationsOf(samples.map(({ latencyMs }) => latencyMs)),
    claimWait: durationsOf(samples.map(({ claimWaitMs }) => claimWaitMs)),
    daemonCpuMs: Number(((cpuSeconds * 1_000) / samples.length).toFixed(2)),
    perSecond: Math.round(((samples.length - 1) * 1_000) / (Math.max(...acked) - Math.min(...acked))),
  };
}

async function insertAll(db: mongo.Db, { rate, seconds, request }: Load): Promise<readonly Sample[]> {
  const waiting: Promise<Sample>[] = [];
  const startedAt = performance.now();
  for (let index = 0; index < rate * seconds; index += 1) {
    const dueInMs = startedAt + (index * 1_000) / rate - performance.now();
    if (dueInMs > 0) await sleep(dueInMs);
    waiting.push(one(db, request(index)));
  }
  return Promise.all(waiting);
}

async function one(db: mongo.Db, request: RequestInput): Promise<Sample> {
  const id = await requests.insert(db, request);
  const ackedAtMs = performance.now();
  const ackedAt = Date.now();
  const { status, startedAt, error } = await requests.result(db, id, { timeoutMs: endWithinMs });
  const latencyMs = performance.now() - ackedAtMs;
  if (status !== 'succeeded') throw new Error(`A request ended ${status}: ${error?.message ?? 'no error'}`);
  // A worker may be quicker than the acknowledgement.
  return { latencyMs, claimWaitMs: Math.max(0, (startedAt?.getTime() ?? Number.NaN) - ackedAt), ackedAtMs };
}
