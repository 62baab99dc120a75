// Which replicas there are: each keeps one document in sync_state while it runs, for people to see who works on a database, and in which
// version. Nothing rests on it: leases say who may do what.
import { stateIds } from '../mongo/sync-state.js';
import type { mongo } from 'mongoose';
import { isDoneWithin, pause } from '../base/waiting.js';
import { persistently, toMongoFault } from '../mongo/faults.js';
import type { StateDocument } from '../mongo/sync-state.js';

/** What a replica tells of itself. */
export interface Vitals {
  readonly version: string;
  /** Cron expression of the full scan; empty: off. */
  readonly schedule: string;
  readonly timezone: string;
  /** Calls to Stripe a second that it keeps to, of all replicas together; 0: unlimited. */
  readonly limits: { readonly callsPerSecond: number; readonly callsPerSecondPerEndpoint: number };
  /** Calls to Stripe a second that it made itself since it was last seen. */
  readonly callsPerSecond: number;
  /** Requests that it works on. */
  readonly running: { readonly small: number; readonly scan: number };
}

export interface Replica extends Vitals {
  /** As in the leases of requests. */
  readonly owner: string;
  /** By MongoDB's clock. */
  readonly startedAt: Date;
  readonly seenAt: Date;
  /** False: it has ended without a word, is paused, or does not reach MongoDB. */
  readonly isAlive: boolean;
}

export interface PresenceOptions {
  readonly states: mongo.Collection<StateDocument>;
  readonly owner: string;
  readonly vitals: () => Vitals;
  /** Told when telling fails, once until it succeeds. */
  readonly onFault: (error: unknown) => void;
  /** How often it is told, in milliseconds; 10,000 by default. */
  readonly everyMs?: number;
}

export interface Presence {
  /** Takes the document away; where MongoDB does not answer within two seconds it stays, and says that the replica is gone. */
  stop(): Promise<void>;
}

const prefix = stateIds.replica();
const isReplica: mongo.Filter<StateDocument> = { _id: new RegExp(`^${prefix}`) };
const byDefaultEveryMs = 10_000;
/** Missed so many times it is taken for gone. */
const missedBeats = 3;
/** One that ended without a word is forgotten after so long. */
const keptMs = 86_400_000;
const goodbyeMs = 2_000;

/** Tells at once and then again and again that this replica is there. A failure is told, and changes nothing. */
export function startPresence({
  states,
  owner,
  vitals,
  onFault,
  everyMs = byDefaultEveryMs,
}: PresenceOptions): Presence {
  const _id = stateIds.replica(owner);
  const stopping = new AbortController();
  const { signal } = stopping;
  let isFailing = false;

  const tell = async (): Promise<void> => {
    const set = {
      $mergeObjects: [
        { startedAt: '$$NOW' },
        '$$ROOT',
        { $literal: { ...vitals(), everyMs } },
        { seenAt: '$$NOW' },
      ],
    };
    await states.updateOne({ _id }, [{ $replaceWith: set }], { upsert: true });
  };
  const run = async (): Promise<void> => {
    let isFirst = true;
    while (!signal.aborted) {
      try {
        await tell();
        if (isFirst) await forgetOld(states);
        isFirst = false;
        isFailing = false;
      } catch (error) {
        if (!isFailing) onFault(toMongoFault(error, 'telling that this replica is there'));
        isFailing = true;
      }
      await pause(everyMs, signal);
    }
  };

  const running = run();
  return {
    async stop() {
      stopping.abort();
      // A beat that is under way would bring the document back.
      const goodbye = running.then(() => states.deleteOne({ _id })).catch(() => undefined);
      await isDoneWithin(goodbye, goodbyeMs);
    },
  };
}

const before = (ms: number | mongo.Document): mongo.Document => ({ $subtract: ['$$NOW', ms] });

async function forgetOld(states: mongo.Collection<StateDocument>): Promise<void> {
  await states.deleteMany({ ...isReplica, $expr: { $lt: ['$seenAt', before(keptMs)] } });
}

/**
 * The replicas that are there, and those that went without a word during the last day; the latest start first.
 * @throws Fault `mongodb_rejected` where the user may not read `sync_state`, `mongodb_unavailable`
 */
export async function readReplicas(states: mongo.Collection<StateDocument>): Promise<readonly Replica[]> {
  const aliveSince = before({ $multiply: ['$everyMs', missedBeats] });
  const found = await persistently('reading the replicas', () =>
    states
      .find({ ...isReplica, $expr: { $gte: ['$seenAt', before(keptMs)] } })
      .project({ document: '$$ROOT', isAlive: { $gte: ['$seenAt', aliveSince] } })
      .sort({ startedAt: -1 })
      .toArray(),
  );
  return found.map(({ _id, document, isAlive }) => ({
    ...(document as Vitals & Pick<Replica, 'startedAt' | 'seenAt'>), // written above alone
    owner: String(_id).slice(prefix.length),
    isAlive: isAlive === true,
  }));
}

/** Counts calls to Stripe on their way to an observer. */
export function countCalls<Call>(observer: { callFinished(call: Call): void }): {
  readonly callFinished: (call: Call) => void;
  /** Calls a second since this was last asked. */
  readonly lately: () => number;
} {
  let finished = 0;
  let sinceMs = performance.now();
  return {
    callFinished: (call) => {
      finished += 1;
      observer.callFinished(call);
    },
    lately: () => {
      const nowMs = performance.now();
      const perSecond = finished / Math.max(1, (nowMs - sinceMs) / 1_000);
      finished = 0;
      sinceMs = nowMs;
      return Number(perSecond.toFixed(1));
    },
  };
}
