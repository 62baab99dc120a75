// What `status` tells, read part by part: who may not read one part is told the others. Every question goes along an index or to one
// document.
import { stateIds } from '../mongo/sync-state.js';
import type { mongo } from 'mongoose';
import { isFault } from '../base/errors.js';
import { countDeleted } from '../mirror/mirror.js';
import type { MirrorDocument } from '../mirror/operations.js';
import { isUnauthorized } from '../mongo/collections.js';
import { persistently } from '../mongo/faults.js';
import { stateOf } from '../mongo/sync-state.js';
import { type BudgetState, readBudget } from '../rate/budget.js';
import { countDue, oldestDueAt } from '../requests/backlog.js';
import { isPending } from '../requests/expressions.js';
import type { RequestCollection } from '../requests/request.js';
import { type RequestView, rowProjection, soundView } from '../requests/view.js';
import { customer } from '../resources/customer.js';
import { resources } from '../resources/registry.js';
import { CronSlots, validateSchedule } from '../schedule/slots.js';
import { readReplicas, type Replica } from './replicas.js';

/** The user who asks may not read it. */
export const notPermitted = 'not permitted';
export type Part<T> = T | typeof notPermitted;

export interface Waiting {
  readonly count: number;
  /** Those that could be claimed. */
  readonly due: number;
  /** When the one that has been due for the longest could have been claimed first; null when none is due. */
  readonly oldestSince: Date | null;
}

export interface Binding {
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
  /** Calls a second that all replicas made together, in the last ten seconds or so. */
  readonly callsPerSecond: number;
  /** What they keep to; 0: unlimited, null: no replica tells. */
  readonly limit: number | null;
  readonly limitPerEndpoint: number | null;
  /** Share of the limit that Stripe's refusals have left for now, 0 to 1. */
  readonly share: number;
  /** When Stripe refused a call last for being too many. */
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
  /** Requests that are kept, by how they ended. */
  readonly kept: Part<{ readonly failed: number; readonly partial: number }>;
  readonly lastCompleteScanAt: Part<Date | null>;
  readonly schedule: Part<Schedule | null>;
  readonly mirror: Part<Readonly<Record<string, { readonly live: number; readonly deleted: number }>>>;
  readonly rate: Part<Rate>;
}

export interface StatusSource {
  readonly db: mongo.Db;
  readonly requests: RequestCollection;
  readonly database: string;
  /** MongoDB's time. */
  readonly at: Date;
  readonly signal: AbortSignal;
}

/** @throws Fault `mongodb_unavailable`, `mongodb_rejected` for another reason than a missing right */
export async function readStatus(source: StatusSource): Promise<Status> {
  const { db, requests, database, at, signal } = source;
  const states = stateOf(db);
  const part = <T>(read: () => Promise<T>): Promise<Part<T>> => permitted(read, signal);
  const [mirrorOf, replicas, running, waiting, kept, lastCompleteScanAt, mirror] = await Promise.all([
    part(async () => bindingOf(await states.findOne({ _id: stateIds.binding }))),
    part(() => readReplicas(states)),
    part(() => readRunning(requests)),
    part(() => readWaiting(requests)),
    part(async () => ({
      failed: await requests.countDocuments({ status: 'failed' }),
      partial: await requests.countDocuments({ status: 'partial' }),
    })),
    part(async () =>
      dateOf((await states.findOne({ _id: stateIds.scanCompleted(customer.object) }))?.['at']),
    ),
    part(() => readMirror(db)),
  ]);
  const alive = replicas === notPermitted ? [] : replicas.filter(({ isAlive }) => isAlive);
  const [schedule, rate] = await Promise.all([
    part(async () => scheduleOf(alive, await states.findOne({ _id: stateIds.schedule('syncAll') }), at)),
    part(async () => rateOf(alive, await readBudget(states))),
  ]);
  return {
    database,
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

/** Reads, or says that the user may not. */
async function permitted<T>(read: () => Promise<T>, signal: AbortSignal): Promise<Part<T>> {
  try {
    return await persistently('reading the status', read, { signal });
  } catch (error) {
    if (isFault(error) && isUnauthorized(error.cause)) return notPermitted;
    throw error;
  }
}

const dateOf = (value: unknown): Date | null => (value instanceof Date ? value : null);

function bindingOf(found: mongo.Document | null): Binding | null {
  if (!found) return null;
  const accountId: unknown = found['accountId'];
  return {
    accountId: typeof accountId === 'string' ? accountId : null,
    livemode: found['livemode'] === true,
  };
}

const mostRunning = 50;

async function readRunning(requests: RequestCollection): Promise<readonly RequestView[]> {
  const options = { projection: rowProjection, limit: mostRunning };
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

async function readMirror(db: mongo.Db): Promise<Record<string, { live: number; deleted: number }>> {
  const counts: Record<string, { live: number; deleted: number }> = {};
  for (const { object, collection } of resources) {
    const mirror = db.collection<MirrorDocument>(collection);
    const [all, deleted] = [await mirror.estimatedDocumentCount(), await countDeleted(mirror)];
    counts[object] = { live: Math.max(0, all - deleted), deleted };
  }
  return counts;
}

const slotsTold = 3;

/** As the latest replica has it; where none tells, as it was set up last. */
function scheduleOf(alive: readonly Replica[], stored: mongo.Document | null, now: Date): Schedule | null {
  const [latest] = alive;
  const expression: unknown = latest ? latest.schedule : stored?.['expression'];
  const timezone: unknown = latest ? latest.timezone : stored?.['timezone'];
  if (typeof expression !== 'string' || typeof timezone !== 'string') return null;
  const isUsable = expression !== '' && validateSchedule(expression, timezone) === undefined;
  return {
    expression,
    timezone,
    next: isUsable ? new CronSlots(expression, timezone).next(slotsTold, now) : [],
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
