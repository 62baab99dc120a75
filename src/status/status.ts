// The data that `status` shows, read part by part: a user without the right to read one part still sees the
// others. Each read uses an index or one document.
import type { mongo } from 'mongoose';
import { isFault } from '../base/errors.js';
import { isUnauthorized } from '../mongo/collections.js';
import { persistently } from '../mongo/faults.js';
import type { ObjectCounts } from '../mirror/mirror.js';
import { type OurDatabase, stateIds, stateOf } from '../mongo/sync-state.js';
import { type BudgetState, readBudget } from '../rate/budget.js';
import { countDue, oldestDueAt } from '../requests/backlog.js';
import { isPending } from '../requests/expressions.js';
import { type RequestCollection, typedRequestsOf } from '../requests/request.js';
import { type RequestView, rowProjection, soundView } from '../requests/view.js';
import { resources } from '../resources/registry.js';
import { CronSlots, validateSchedule } from '../schedule/slots.js';
import { readBinding, readCompleteScans, readMirrorObjects } from './database-stats.js';
import { readReplicas, type Replica } from './replicas.js';

/** MongoDB does not let this user read the part. */
export const notPermitted = 'not permitted';
export type Part<T> = T | typeof notPermitted;

interface Waiting {
  readonly count: number;
  /** Requests that can be claimed now. */
  readonly due: number;
  /** When the oldest due request could first have been claimed; null when none is due. */
  readonly oldestSince: Date | null;
}

interface Binding {
  readonly accountId: string | null;
  readonly livemode: boolean;
}

export interface Schedule {
  /** Empty: off. */
  readonly expression: string;
  readonly timezone: string;
  readonly next: readonly Date[];
}

export interface Rate {
  /** Calls a second of all replicas together, in about the last ten seconds. */
  readonly callsPerSecond: number;
  /** The budget of all replicas; 0: unlimited, null: no replica is alive. */
  readonly limit: number | null;
  readonly limitPerEndpoint: number | null;
  /** Share of the limit that is in use, 0 to 1; a 429 of Stripe lowers it temporarily. */
  readonly share: number;
  /** When Stripe last answered 429. */
  readonly slowedAt: Date | null;
  readonly callsThisMonth: number;
}

export interface Status {
  readonly database: string;
  /** MongoDB's time. */
  readonly at: Date;
  readonly mirrorOf: Part<Binding | null>;
  readonly replicas: Part<readonly Replica[]>;
  readonly running: Part<readonly RequestView[]>;
  readonly waiting: Part<Waiting>;
  /** Ended requests that are not expired yet, by status. */
  readonly kept: Part<{ readonly failed: number; readonly partial: number }>;
  readonly lastCompleteScanAt: Part<Date | null>;
  readonly schedule: Part<Schedule | null>;
  readonly mirror: Part<Readonly<Record<string, ObjectCounts>>>;
  readonly rate: Part<Rate>;
}

export interface StatusSource {
  readonly database: OurDatabase;
  /** MongoDB's time. */
  readonly at: Date;
  readonly signal: AbortSignal;
}

/** @throws Fault `mongodb_unavailable`, `mongodb_rejected` for another reason than a missing right */
export async function readStatus(source: StatusSource): Promise<Status> {
  const { database, at, signal } = source;
  const states = stateOf(database);
  const requests = typedRequestsOf(database);
  const part = <T>(read: () => Promise<T>): Promise<Part<T>> => permitted(read, signal);
  const [mirrorOf, replicas, running, waiting, kept, lastCompleteScanAt, mirror] = await Promise.all([
    part(async () => bindingOf(await readBinding(states))),
    part(() => readReplicas(states)),
    part(() => readRunning(requests)),
    part(() => readWaiting(requests)),
    part(async () => ({
      failed: await requests.countDocuments({ status: 'failed' }),
      partial: await requests.countDocuments({ status: 'partial' }),
    })),
    part(async () => lastOf(await readCompleteScans(states))),
    part(() => readMirrorObjects(database)),
  ]);
  const alive = replicas === notPermitted ? [] : replicas.filter(({ isAlive }) => isAlive);
  const [schedule, rate] = await Promise.all([
    part(async () => scheduleOf(alive, await states.findOne({ _id: stateIds.schedule('syncAll') }), at)),
    part(async () => rateOf(alive, await readBudget(states))),
  ]);
  return {
    database: database.db.databaseName,
    at,
    mirrorOf,
    replicas,
    running,
    waiting,
    kept,
    lastCompleteScanAt,
    schedule,
    mirror,
    rate,
  };
}

async function permitted<T>(read: () => Promise<T>, signal: AbortSignal): Promise<Part<T>> {
  try {
    return await persistently('reading the status', read, { signal });
  } catch (error) {
    if (isFault(error) && isUnauthorized(error.cause)) return notPermitted;
    throw error;
  }
}

const bindingOf = (found: Awaited<ReturnType<typeof readBinding>>): Binding | null =>
  found ? { accountId: found.accountId, livemode: found.livemode } : null;

/** The time by which every kind of object had a complete scan; null before. */
function lastOf(completeScans: Readonly<Record<string, Date>>): Date | null {
  const times = resources.map(({ object }) => completeScans[object]?.getTime() ?? NaN);
  const earliest = Math.min(...times);
  return Number.isNaN(earliest) ? null : new Date(earliest);
}

const maxRunning = 50;

async function readRunning(requests: RequestCollection): Promise<readonly RequestView[]> {
  const options = { projection: rowProjection, limit: maxRunning };
  const found = await requests.find({ status: 'running' }, options).toArray();
  return found.map(soundView);
}

async function readWaiting(requests: RequestCollection): Promise<Waiting> {
  const [count, due, oldestSince] = await Promise.all([
    requests.countDocuments(isPending),
    countDue(requests),
    oldestDueAt(requests),
  ]);
  return { count, due, oldestSince: oldestSince ?? null };
}

const slotsShown = 3;

/** The schedule of the replica that started last; without a live replica, the stored one. */
function scheduleOf(alive: readonly Replica[], stored: mongo.Document | null, now: Date): Schedule | null {
  const [latest] = alive;
  const expression: unknown = latest ? latest.schedule : stored?.['expression'];
  const timezone: unknown = latest ? latest.timezone : stored?.['timezone'];
  if (typeof expression !== 'string' || typeof timezone !== 'string') return null;
  const isUsable = expression !== '' && validateSchedule(expression, timezone) === undefined;
  return {
    expression,
    timezone,
    next: isUsable ? new CronSlots(expression, timezone).next(slotsShown, now) : [],
  };
}

function rateOf(alive: readonly Replica[], budget: BudgetState): Rate {
  const limits = alive[0]?.limits;
  const calls = alive.reduce((sum, { callsPerSecond }) => sum + callsPerSecond, 0);
  return {
    callsPerSecond: Number(calls.toFixed(1)),
    limit: limits?.callsPerSecond ?? null,
    limitPerEndpoint: limits?.callsPerSecondPerEndpoint ?? null,
    ...budget,
    share: Number(budget.share.toFixed(2)),
  };
}
