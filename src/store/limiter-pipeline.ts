// Update pipelines that take slots from the rate limiter's document and slow it down, all on the server's clock ($$NOW).
// GCRA: each scope keeps the time its next slot is due, and a slot moves that on by one interval. There are no bursts.
import type { mongo } from 'mongoose';

/** Calls per second over all replicas; 0: unlimited. */
export interface SlotRates {
  readonly callsPerSecond: number;
  readonly callsPerSecondPerEndpoint: number;
}

/** Nobody reserves a slot further ahead than this. */
const horizonMs = 100;

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

const orElse = (path: string, fallback: Expression): Expression => ({ $ifNull: [`$${path}`, fallback] });

/** Share of its full rate that a scope is allowed now: 1, unless it has not recovered from a cut yet. */
function factorNow(path: string): Expression {
  const sinceCutMs = { $max: [0, { $subtract: [nowMs, orElse(`${path}.cutAt`, 0)] }] };
  const recovered = { $multiply: [sinceCutMs, recoveryPerSecond / 1_000] };
  return { $min: [1, { $add: [orElse(`${path}.factor`, 1), recovered] }] };
}

const intervalNow = (path: string, rate: number): Expression =>
  rate === 0 ? 0 : { $add: [roundingMs, { $divide: [1_000 / rate, factorNow(path)] }] };

/** When the scope's next slot is due, never before now. */
function dueNow(path: string, rate: number): Expression {
  const furthestMs = horizonMs + Math.max(longestStepMs, rate === 0 ? 0 : 1_000 / rate / leastFactor);
  return {
    $max: [
      nowMs,
      { $min: [orElse(`${path}.due`, 0), { $add: [nowMs, furthestMs] }] },
      { $min: [orElse(`${path}.blockedUntil`, 0), { $add: [nowMs, longestBlockMs] }] },
    ],
  };
}

/** Where a take starts: when the next slot of the whole and of each endpoint is due, and how far apart slots are. */
const startOfTake = (endpoints: readonly string[], rates: SlotRates): mongo.Document => ({
  now: nowMs,
  factor: factorNow(pathOf()),
  whole: dueNow(pathOf(), rates.callsPerSecond),
  wholeInterval: intervalNow(pathOf(), rates.callsPerSecond),
  each: endpoints.map((name) => dueNow(pathOf(name), rates.callsPerSecondPerEndpoint)),
  eachInterval: endpoints.map((name) => intervalNow(pathOf(name), rates.callsPerSecondPerEndpoint)),
  slots: [],
});

/** One want within a pass; `$$this` is its number, `$$endpoint` the index of its endpoint, `$$at` when its slot would be due. */
function stepOfPass(rates: SlotRates): mongo.Document {
  const moveOn = (due: Expression, rate: number, interval: Expression): Expression =>
    rate === 0 ? due : { $add: ['$$at', interval] };
  const whole = moveOn('$$value.whole', rates.callsPerSecond, '$take.wholeInterval');
  const due = { $arrayElemAt: ['$$value.each', '$$index'] };
  const moved = moveOn(due, rates.callsPerSecondPerEndpoint, {
    $arrayElemAt: ['$take.eachInterval', '$$index'],
  });
  const each = {
    $map: {
      input: { $range: [0, { $size: '$$value.each' }] },
      as: 'index',
      in: { $cond: [{ $eq: ['$$index', '$$endpoint'] }, moved, due] },
    },
  };
  const withSlot = (slot: Expression): Expression => ({ $concatArrays: ['$$value.slots', [slot]] });
  return {
    $switch: {
      branches: [
        {
          case: '$$earlier.granted',
          then: { whole: '$$value.whole', each: '$$value.each', slots: withSlot('$$earlier') },
        },
        { case: '$$isGranted', then: { whole, each, slots: withSlot({ at: '$$at', granted: true }) } },
      ],
      default: {
        whole: '$$value.whole',
        each: '$$value.each',
        slots: withSlot({ at: '$$at', granted: false }),
      },
    },
  };
}

/**
 * Goes over the wants in their order. The first pass grants only where the endpoint is not behind the whole, so that a slow
 * endpoint leaves the slots before its own to the others; the second grants the rest up to the horizon.
 */
function pass(which: 'first' | 'second', wants: readonly number[], rates: SlotRates): mongo.Document {
  const inTime = { $lte: ['$$at', { $add: ['$take.now', horizonMs] }] };
  const isGranted =
    which === 'first' ? { $and: [inTime, { $lte: ['$$endpointDue', '$$value.whole'] }] } : inTime;
  const endpoint = { $arrayElemAt: [wants, '$$this'] };
  const endpointDue = { $arrayElemAt: ['$$value.each', endpoint] };
  const at = { $max: ['$$value.whole', endpointDue] };
  const earlier = which === 'first' ? {} : { $arrayElemAt: ['$take.slots', '$$this'] };
  const after = {
    $reduce: {
      input: { $range: [0, wants.length] },
      initialValue: { whole: '$take.whole', each: '$take.each', slots: [] },
      in: {
        $let: {
          vars: { endpoint, endpointDue, at, earlier },
          in: { $let: { vars: { isGranted }, in: stepOfPass(rates) } },
        },
      },
    },
  };
  return { $set: { take: { $mergeObjects: ['$take', after] } } };
}

/**
 * Takes a slot for each of `wants` (names of endpoints, the most urgent first) where one is due within the horizon. Leaves in
 * `take` of the document: `now`, `factor`, and `slots`, one `{ at, granted }` a want: milliseconds since 1970.
 */
export function takePipeline(wants: readonly string[], rates: SlotRates): mongo.Document[] {
  const endpoints = [...new Set(wants)];
  const indexes = wants.map((endpoint) => endpoints.indexOf(endpoint));
  const due: mongo.Document = { [`${pathOf()}.due`]: '$take.whole' };
  endpoints.forEach((name, index) => {
    due[`${pathOf(name)}.due`] = { $arrayElemAt: ['$take.each', index] };
  });
  return [
    { $set: { take: startOfTake(endpoints, rates) } },
    pass('first', indexes, rates),
    pass('second', indexes, rates),
    { $set: due },
  ];
}

/** What to do about a 429: halve the rate of a scope (at most once a second), block it for some time, or both. */
export interface Slowdown {
  /** Absent: the whole account. */
  readonly endpoint?: string | undefined;
  readonly cut: boolean;
  readonly blockMs: number;
}

export function slowdownPipeline({ endpoint, cut, blockMs }: Slowdown): mongo.Document[] {
  const path = pathOf(endpoint);
  const isCut = cut && { $gte: [{ $subtract: [nowMs, orElse(`${path}.cutAt`, 0)] }, leastMsBetweenCuts] };
  const factor = { $max: [leastFactor, { $multiply: [factorNow(path), cutFactor] }] };
  const blockedUntil = { $add: [nowMs, Math.min(blockMs, longestBlockMs)] };
  return [
    {
      $set: {
        [`${path}.factor`]: { $cond: [isCut, factor, orElse(`${path}.factor`, 1)] },
        [`${path}.cutAt`]: { $cond: [isCut, nowMs, orElse(`${path}.cutAt`, 0)] },
        ...(blockMs > 0 && {
          [`${path}.blockedUntil`]: { $max: [orElse(`${path}.blockedUntil`, 0), blockedUntil] },
        }),
      },
    },
  ];
}
