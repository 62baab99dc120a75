// The clients of bench/requests.ts: they insert at a steady rate, whatever becomes of what was inserted, and wait for every end.
import { setTimeout as sleep } from 'node:timers/promises';
import type { mongo } from 'mongoose';
import { type RequestInput, requests } from '../src/index.js';
import { type Durations, durationsOf } from './support/percentiles.js';

export interface Load {
  /** Insertions a second. */
  readonly rate: number;
  /** How long, in seconds; those of the first `warmUpSeconds` are not counted. */
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

/** Until code, connections and caches are as in a process that has been at it for a while. */
const warmUpSeconds = 3;
const endWithinMs = 120_000;

/** @throws Error when a request does not succeed */
export async function apply(db: mongo.Db, load: Load): Promise<Measured> {
  const count = Math.round(load.rate * (load.seconds + warmUpSeconds));
  const waiting: Promise<Sample>[] = [];
  const cpuBefore = await load.daemon.cpuSeconds();
  const startedAt = performance.now();
  for (let index = 0; index < count; index += 1) {
    const dueInMs = startedAt + (index * 1_000) / load.rate - performance.now();
    if (dueInMs > 0) await sleep(dueInMs);
    waiting.push(one(db, load.request(index)));
  }
  const all = await Promise.all(waiting);
  const cpuSeconds = (await load.daemon.cpuSeconds()) - cpuBefore;
  const samples = all.slice(Math.round(load.rate * warmUpSeconds));
  const acked = samples.map(({ ackedAtMs }) => ackedAtMs);
  return {
    latency: durationsOf(samples.map(({ latencyMs }) => latencyMs)),
    claimWait: durationsOf(samples.map(({ claimWaitMs }) => claimWaitMs)),
    daemonCpuMs: Number(((cpuSeconds * 1_000) / count).toFixed(2)),
    perSecond: Math.round(((samples.length - 1) * 1_000) / (Math.max(...acked) - Math.min(...acked))),
  };
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
