// Update pipelines that take slots from the rate limiter's document and slow it down, all on the server's clock ($$NOW).
// GCRA: each scope keeps the time its next slot is due, and a slot moves that on by one interval. There are no bursts.
import type { mongo } from 'mongoose';
import { isUsedUp, monthBegun, type MonthlyReads, noReads, slotsCounted } from './budget-month.js';

/** Calls per second over all replicas; 0: unlimited. */
export interface SlotRates {
  readonly callsPerSecond: number;
  readonly callsPerSecondPerEndpoint: number;
}

/** Nobody reserves a slot further ahead than this. */
export const horizonMs = 100;
/** Nor one beyond free slots that calls to other endpoints are likely to want. */
const skipHorizonMs = 50;
/** Other endpoints that were asked for so lately are likely to be asked for again. */
const recentMs = 500;

/** A rate that was cut grows back by this share of the full rate each second: from half to full in 50 s. */
const recoveryPerSecond = 0.01;
const cutFactor = 0.5;
const leastFactor = 0.05;
const leastMsBetweenCuts = 1_000;
/** Longest time that a `Retry-After` blocks a scope. */
const longestBlockMs = 300_000;
/** What a clock that was set back may cost at the most. */
const longestStepMs = 60_000;
/** Makes up for the rounding of milliseconds since 1970 in a double: no window ever holds one slot too many. */
const roundingMs = 0.001;

type Expression = mongo.Document | string | number;

const nowMs: Expression = { $toDouble: { $toLong: '$$NOW' } };

/** Place of a scope's state in the document: of the whole, or of one endpoint. */
const pathOf = (endpoint?: string): string => (endpoint === undefined ? 'whole' : `endpoints.${endpoint}`);
/** Of the calls in flight, of which every process has its share. */
const inFlightPath = 'inFlight';

const orElse = (path: string, fallback: Expression): Expression => ({ $ifNull: [`$${path}`, fallback] });

/** Share of its full rate that a scope is allowed now: 1, unless it has not recovered from a cut yet. */
export function factorNow(path: string): Expression {
  const sinceCutMs = { $max: [0, { $subtract: [nowMs, orElse(`${path}.cutAt`, 0)] }] };
  const recovered = { $multiply: [sinceCutMs, recoveryPerSecond / 1_000] };
  return { $min: [1, { $add: [orElse(`${path}.factor`, 1), recovered] }] };
}

const intervalNow = (path: string, rate: number): Expression =>
  rate === 0 ? 0 : { $add: [roundingMs, { $divide: [1_000 / rate, factorNow(path)] }] };

/** When the scope's next slot is due, never before now. */
function dueNow(path: string, rate: number): Expression {
  const notBlocked = { $min: [orElse(`${path}.blockedUntil`, 0), { $add: [nowMs, longestBlockMs] }] };
  // Without a rate, what is stored there is only when somebody last took a slot, and it can be later than this update's time: that
  // is when it began, and before it was applied others may have gone ahead.
  if (rate === 0) return { $max: [nowMs, notBlocked] };
  const furthestMs = horizonMs + Math.max(longestStepMs, 1_000 / rate / leastFactor);
  const stored = { $min: [orElse(`${path}.due`, 0), { $add: [nowMs, furthestMs] }] };
  return { $max: [nowMs, stored, notBlocked] };
}

/**
 * Takes a slot for each of `wants` (names of endpoints, the most urgent first) where one is due within the horizon. Leaves in `take`
 * of the document, in milliseconds since 1970: `now`; `slots`, a `{ want, at }` for each that was granted, with the want's index;
 * `whole` and `each`, when the next slot is due, endpoints in the order in which they first occur; `skipAheadMs`, how far ahead one
 * is granted that leaves out earlier ones; `factor` of the whole and `inFlight`, that of the calls in flight. What is granted is
 * counted in `month`.
 */
export function takePipeline(
  wants: readonly string[],
  rates: SlotRates,
  reads: MonthlyReads = noReads,
): mongo.Document[] {
  const endpoints = [...new Set(wants)];
  const queuesBefore = (end: number): number[][] =>
    endpoints.map((name) => wants.flatMap((want, index) => (want === name && index < end ? [index] : [])));
  const all = queuesBefore(wants.length);
  const queues =
    reads.allowance > 0 && reads.scansFrom < wants.length
      ? { $cond: [isUsedUp(reads.allowance), queuesBefore(reads.scansFrom), all] }
      : all;
  const start = {
    now: nowMs,
    factor: factorNow(pathOf()),
    inFlight: factorNow(inFlightPath),
    /** Indices of the wants of each endpoint that may have a slot. */
    queues,
    skipAheadMs: { $cond: [isOtherRecent(endpoints), skipHorizonMs, horizonMs] },
    whole: dueNow(pathOf(), rates.callsPerSecond),
    wholeInterval: intervalNow(pathOf(), rates.callsPerSecond),
    each: endpoints.map((name) => dueNow(pathOf(name), rates.callsPerSecondPerEndpoint)),
    eachInterval: endpoints.map((name) => intervalNow(pathOf(name), rates.callsPerSecondPerEndpoint)),
    /** How many of each endpoint's wants have their slot. */
    served: endpoints.map(() => 0),
    slots: [],
  };
  const granting = { $let: { vars: { state: '$$value', next: nextSlot() }, in: afterSlot(rates) } };
  const end = { $reduce: { input: { $range: [0, wants.length] }, initialValue: '$take', in: granting } };
  const due: mongo.Document = { [`${pathOf()}.due`]: '$take.whole' };
  endpoints.forEach((name, index) => {
    due[`${pathOf(name)}.due`] = { $arrayElemAt: ['$take.each', index] };
  });
  return [
    monthBegun,
    { $set: { take: start } },
    { $set: { take: end } },
    { $set: due },
    ...slotsCounted(reads),
    { $unset: 'take.queues' },
  ];
}

/** Whether other endpoints than these were asked for lately. */
function isOtherRecent(endpoints: readonly string[]): Expression {
  const isOther = { $not: [{ $in: ['$$this.k', endpoints] }] };
  const isRecent = { $gt: ['$$this.v.due', { $subtract: [nowMs, recentMs] }] };
  const known = { $objectToArray: orElse('endpoints', {}) };
  return {
    $gt: [{ $size: { $filter: { input: known, as: 'this', cond: { $and: [isOther, isRecent] } } } }, 0],
  };
}

/**
 * The earliest slot that anybody still wants, `{ endpoint, want, at }`; of two at the same time the more urgent one. So an endpoint
 * that has to wait leaves the slots before its own to the others. Beyond the horizon there is none, and `want` is -1.
 */
function nextSlot(): Expression {
  const of = (array: string): Expression => ({ $arrayElemAt: [`$$state.${array}`, '$$this'] });
  const isEarlier = { $lt: ['$$at', '$$value.at'] };
  const isMoreUrgent = { $and: [{ $eq: ['$$at', '$$value.at'] }, { $lt: ['$$want', '$$value.want'] }] };
  const aheadMs = { $cond: [{ $gt: [of('each'), '$$state.whole'] }, '$$state.skipAheadMs', horizonMs] };
  const isInTime = { $lt: ['$$at', { $add: ['$$state.now', aheadMs] }] };
  const first = {
    $reduce: {
      input: { $range: [0, { $size: '$$state.queues' }] },
      initialValue: { want: -1, at: { $add: ['$$state.now', horizonMs] } },
      in: {
        $let: {
          vars: {
            at: { $max: ['$$state.whole', of('each')] },
            // Nothing, which is less than any number, where all have been served.
            want: { $arrayElemAt: [of('queues'), of('served')] },
          },
          in: {
            $cond: [
              { $and: [{ $gte: ['$$want', 0] }, isInTime, { $or: [isEarlier, isMoreUrgent] }] },
              { endpoint: '$$this', want: '$$want', at: '$$at' },
              '$$value',
            ],
          },
        },
      },
    },
  };
  return { $let: { vars: { state: '$$value' }, in: first } };
}

/** The state once that slot is granted: it moves on what is due next. */
function afterSlot({ callsPerSecond, callsPerSecondPerEndpoint }: SlotRates): Expression {
  const of = (array: string): Expression => ({ $arrayElemAt: [`$$state.${array}`, '$$index'] });
  const withChange = (array: string, change: Expression): Expression => ({
    $map: {
      input: { $range: [0, { $size: `$$state.${array}` }] },
      as: 'index',
      in: { $cond: [{ $eq: ['$$index', '$$next.endpoint'] }, change, of(array)] },
    },
  });
  const change = {
    ...(callsPerSecond > 0 && { whole: { $add: ['$$next.at', '$$state.wholeInterval'] } }),
    ...(callsPerSecondPerEndpoint > 0 && {
      each: withChange('each', { $add: ['$$next.at', of('eachInterval')] }),
    }),
    served: withChange('served', { $add: [of('served'), 1] }),
    slots: { $concatArrays: ['$$state.slots', [{ want: '$$next.want', at: '$$next.at' }]] },
  };
  return { $cond: [{ $lt: ['$$next.want', 0] }, '$$state', { $mergeObjects: ['$$state', change] }] };
}

/** What to do about a 429, any of these together. */
export interface Slowdown {
  /** Absent: the whole account. */
  readonly endpoint?: string | undefined;
  /** Halves the rate of the scope, at most once a second. */
  readonly cut: boolean;
  /** Halves the calls in flight of every process, at most once a second. */
  readonly fewerInFlight?: boolean | undefined;
  /** Grants nothing in the scope for so long. */
  readonly blockMs: number;
}

export function slowdownPipeline({ endpoint, cut, fewerInFlight, blockMs }: Slowdown): mongo.Document[] {
  const path = pathOf(endpoint);
  const blockedUntil = { $add: [nowMs, Math.min(blockMs, longestBlockMs)] };
  return [
    {
      $set: {
        ...(cut && halved(path)),
        ...(fewerInFlight && halved(inFlightPath)),
        // Of the last 429, for whoever looks into why it is slow.
        [`${path}.slowedAt`]: nowMs,
        ...(blockMs > 0 && {
          [`${path}.blockedUntil`]: { $max: [orElse(`${path}.blockedUntil`, 0), blockedUntil] },
        }),
      },
    },
  ];
}

/** Halves what a scope is allowed now, unless that was done within the last second. */
function halved(path: string): mongo.Document {
  const isCut = { $gte: [{ $subtract: [nowMs, orElse(`${path}.cutAt`, 0)] }, leastMsBetweenCuts] };
  const factor = { $max: [leastFactor, { $multiply: [factorNow(path), cutFactor] }] };
  return {
    [`${path}.factor`]: { $cond: [isCut, factor, orElse(`${path}.factor`, 1)] },
    [`${path}.cutAt`]: { $cond: [isCut, nowMs, orElse(`${path}.cutAt`, 0)] },
  };
}
