// The running replicas: each keeps one document in the state, so that people see which processes in which
// version use a database. No decision depends on it, because leases decide who may do what.
import type { mongo } from 'mongoose';
import { isDoneWithin, pause } from '../base/waiting.js';
import { isRefusal, persistently, toMongoFault } from '../mongo/faults.js';
import type { WritesObserver } from '../mongo/refused-writes.js';
import { type StateDocument, stateIds } from '../mongo/sync-state.js';
import type { StripeObserver } from '../stripe/observer.js';

/** What a replica reports of itself. */
export interface Vitals {
  readonly version: string;
  /** Cron expression of the full scan; empty: off. */
  readonly schedule: string;
  readonly timezone: string;
  /** The budget of all replicas together, in calls to Stripe a second; 0: unlimited. */
  readonly limits: { readonly callsPerSecond: number; readonly callsPerSecondPerEndpoint: number };
  /** Its own calls to Stripe a second since its last heartbeat. */
  readonly callsPerSecond: number;
  /** Requests that it is running. */
  readonly running: { readonly small: number; readonly scan: number };
}

export interface Replica extends Vitals {
  /** As in the leases of requests. */
  readonly owner: string;
  /** By MongoDB's clock. */
  readonly startedAt: Date;
  readonly seenAt: Date;
  /** False: it died, is paused, or cannot reach MongoDB. */
  readonly isAlive: boolean;
}

export interface PresenceOptions {
  readonly states: mongo.Collection<StateDocument>;
  readonly owner: string;
  readonly vitals: () => Vitals;
  /** Heartbeats are also the regular writes that show whether MongoDB takes any. */
  readonly observer?: WritesObserver;
  /** Called when heartbeats begin to fail, once until one succeeds. */
  readonly onFault: (error: unknown) => void;
  /** Time between two heartbeats, in milliseconds; 10,000 by default. */
  readonly everyMs?: number;
}

export interface Presence {
  /**
   * Deletes the document. If MongoDB does not answer within 2 s, the document stays and shows the replica as
   * gone after the missed heartbeats.
   */
  stop(): Promise<void>;
}

const prefix = stateIds.replica();
const isReplica: mongo.Filter<StateDocument> = { _id: new RegExp(`^${prefix}`) };
const defaultEveryMs = 10_000;
/**
 * A replica counts as gone after this many missed heartbeats. The time is longer than an answer of Stripe may
 * be old when it is written, as `bind --reset` relies on it.
 */
const missedBeats = 4;
/** The document of a replica that is gone is deleted after this time. */
const keptMs = 86_400_000;
const goodbyeMs = 2_000;

/**
 * Writes the first heartbeat at once, then one every `everyMs`. A failed heartbeat is reported and changes
 * nothing else.
 */
export function startPresence({
  states,
  owner,
  vitals,
  observer,
  onFault,
  everyMs = defaultEveryMs,
}: PresenceOptions): Presence {
  const _id = stateIds.replica(owner);
  const stopping = new AbortController();
  const { signal } = stopping;
  let isFailing = false;

  const beat = async (): Promise<void> => {
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
        await beat();
        if (isFirst) await forgetOld(states);
        isFirst = false;
        isFailing = false;
        observer?.writesAccepted('state');
      } catch (error) {
        if (isRefusal(error)) observer?.writesRefused('state');
        if (!isFailing) onFault(toMongoFault(error, 'writing the heartbeat of this replica'));
        isFailing = true;
      }
      await pause(everyMs, signal);
    }
  };

  const running = run();
  return {
    async stop() {
      stopping.abort();
      // A heartbeat in progress would write the document again.
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
 * The replicas that are alive, and those that disappeared within the last day; the latest start first.
 * @throws Fault `mongodb_rejected` where the user may not read the state, `mongodb_unavailable`
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

/** Counts the calls to Stripe that an observer is notified of. */
export function countingCalls<Observer extends StripeObserver>(
  observer: Observer,
): {
  readonly observer: Observer;
  /** Calls a second since the previous time this was called. */
  readonly lately: () => number;
} {
  let finished = 0;
  let sinceMs = performance.now();
  return {
    observer: {
      ...observer,
      callFinished(call) {
        finished += 1;
        observer.callFinished(call);
      },
    },
    lately() {
      const nowMs = performance.now();
      const perSecond = finished / Math.max(1, (nowMs - sinceMs) / 1_000);
      finished = 0;
      sinceMs = nowMs;
      return Number(perSecond.toFixed(1));
    },
  };
}
