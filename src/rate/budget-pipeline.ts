// Update pipelines of the budget's document: one takes slots, one slows down. All times are by the server's
// clock ($$NOW). The algorithm is GCRA: each scope stores when its next slot is due, and each slot advances
// that time by one interval. There are no bursts.
import type { mongo } from 'mongoose';
import { isUsedUp, monthBegun, noReads, type ReadsOfMonth, slotsCounted } from './budget-month.js';
import type { Limits } from './limits.js';

export type Rates = Pick<Limits, 'callsPerSecond' | 'callsPerSecondPerEndpoint'>;

/** A slot is granted at most this long before it is due. */
export const horizonMs = 100;
/** The same limit for a slot that skips free ones which calls to other endpoints will probably take. */
const skipHorizonMs = 50;
/** An endpoint that was called within this time will probably be called again. */
const recentMs = 500;

/** A reduced rate recovers by this share of the full rate each second: from half to full in 50 s. */
const recoveryPerSecond = 0.01;
const cutFactor = 0.5;
const minFactor = 0.05;
const minMsBetweenCuts = 1_000;
/** Longest time that a `Retry-After` blocks a scope. */
const maxBlockMs = 300_000;
/** Maximum wait that a clock moved backwards may cause. */
const maxStepMs = 60_000;
/**
 * Covers the rounding of milliseconds since 1970 in a double: no window of a second holds one slot too many.
 */
const roundingMs = 0.001;

type Expression = mongo.Document | string | number;

const nowMs: Expression = { $toDouble: { $toLong: '$$NOW' } };

/** Place of a scope's state in the document: of the whole, or of one endpoint. */
const pathOf = (endpoint?: string): string => (endpoint === undefined ? 'whole' : `endpoints.${endpoint}`);
/** State of the calls in flight; every process gets a share of them. */
const inFlightPath = 'inFlight';

const orElse = (path: string, fallback: Expression): Expression => ({ $ifNull: [`$${path}`, fallback] });

/** Share of its full rate that a scope is allowed now: below 1 until it has recovered from a cut. */
export function factorNow(path = pathOf()): Expression {
  const sinceCutMs = { $max: [0, { $subtract: [nowMs, orElse(`${path}.cutAt`, 0)] }] };
  const recovered = { $multiply: [sinceCutMs, recoveryPerSecond / 1_000] };
  return { $min: [1, { $add: [orElse(`${path}.factor`, 1), recovered] }] };
}

const intervalNow = (path: string, rate: number): Expression =>
  rate === 0 ? 0 : { $add: [roundingMs, { $divide: [1_000 / rate, factorNow(path)] }] };

/** When the scope's next slot is due, never before now. */
function dueNow(path: string, rate: number): Expression {
  const notBlocked = { $min: [orElse(`${path}.blockedUntil`, 0), { $add: [nowMs, maxBlockMs] }] };
  // Without a rate, the stored time only records when a slot was last taken. It can be later than $$NOW: that
  // is when this update began, and others may have been applied before it.
  if (rate === 0) return { $max: [nowMs, notBlocked] };
  const maxAheadMs = horizonMs + Math.max(maxStepMs, 1_000 / rate / minFactor);
  const stored = { $min: [orElse(`${path}.due`, 0), { $add: [nowMs, maxAheadMs] }] };
  return { $max: [nowMs, stored, notBlocked] };
}

/** What `takePipeline` leaves in `take` of the document. Times are milliseconds since 1970. */
export interface StoredSlots {
  readonly now: number;
  /** Allowed share of the full rate of the whole account now, and the same share for calls in flight. */
  readonly factor: number;
  readonly inFlight: number;
  /** News of the allowance: 1 if these slots brought it to 80 %, 2 if they used it up. */
  readonly news?: 0 | 1 | 2;
  /**
   * When the next slot is due: for the whole account, and for each endpoint in the order of first occurrence.
   */
  readonly whole: number;
  readonly each: readonly number[];
  /** Maximum lead of a slot that skips earlier ones. */
  readonly skipAheadMs: number;
  /** The granted slots; `want` is the index of the call. */
  readonly slots: readonly { readonly want: number; readonly at: number }[];
}

/**
 * Takes a slot for each of `wants` (names of endpoints, the most urgent first) where one is due within the
 * horizon. Leaves `StoredSlots` in `take` of the document, and counts what it grants in `month`.
 */
export function takePipeline(
  wants: readonly string[],
  rates: Rates,
  reads: ReadsOfMonth = noReads,
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
    factor: factorNow(),
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

/** Whether endpoints other than these were called recently. */
function isOtherRecent(endpoints: readonly string[]): Expression {
  const isOther = { $not: [{ $in: ['$$this.k', endpoints] }] };
  const isRecent = { $gt: ['$$this.v.due', { $subtract: [nowMs, recentMs] }] };
  const known = { $objectToArray: orElse('endpoints', {}) };
  return {
    $gt: [{ $size: { $filter: { input: known, as: 'this', cond: { $and: [isOther, isRecent] } } } }, 0],
  };
}

/**
 * The earliest slot that a call can still use, `{ endpoint, want, at }`. Of two at the same time, the more
 * urgent one wins. An endpoint that has to wait therefore leaves earlier slots to the others. `want` is -1 if
 * there is no slot within the horizon.
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
            // Missing once all are served: it sorts below any number.
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

/** The state after that slot is granted: the next ones become due later. */
function afterSlot({ callsPerSecond, callsPerSecondPerEndpoint }: Rates): Expression {
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

/** The reaction to a 429; all parts may apply at once. */
export interface Slowdown {
  /** Absent: the whole account. */
  readonly endpoint?: string | undefined;
  /** Halves the rate of the scope, at most once a second. */
  readonly cut: boolean;
  /** Halves the calls in flight of every process, at most once a second. */
  readonly fewerInFlight?: boolean | undefined;
  /** Grants nothing in the scope for this long. */
  readonly blockMs: number;
}

export function slowdownPipeline({ endpoint, cut, fewerInFlight, blockMs }: Slowdown): mongo.Document[] {
  const path = pathOf(endpoint);
  const blockedUntil = { $add: [nowMs, Math.min(blockMs, maxBlockMs)] };
  return [
    {
      $set: {
        ...(cut && halved(path)),
        ...(fewerInFlight && halved(inFlightPath)),
        // Time of the last 429, for anybody who investigates a low rate.
        [`${path}.slowedAt`]: nowMs,
        ...(blockMs > 0 && {
          [`${path}.blockedUntil`]: { $max: [orElse(`${path}.blockedUntil`, 0), blockedUntil] },
        }),
      },
    },
  ];
}

/** Halves the allowed rate of a scope, unless that happened within the last second. */
function halved(path: string): mongo.Document {
  const isCut = { $gte: [{ $subtract: [nowMs, orElse(`${path}.cutAt`, 0)] }, minMsBetweenCuts] };
  const factor = { $max: [minFactor, { $multiply: [factorNow(path), cutFactor] }] };
  return {
    [`${path}.factor`]: { $cond: [isCut, factor, orElse(`${path}.factor`, 1)] },
    [`${path}.cutAt`]: { $cond: [isCut, nowMs, orElse(`${path}.cutAt`, 0)] },
  };
}
