// Calls counted per calendar month (UTC, on MongoDB's clock), in the rate limiter's own document and by its own update: whoever takes
// slots counts them. Users' allowance holds scans back; small calls go on.
import type { mongo } from 'mongoose';

/** What belongs to the month besides the slots that are granted. */
export interface MonthlyReads {
  /** Calls a calendar month; 0: no allowance. */
  readonly allowance: number;
  /** Wants from this index on are of scans: they get no slot once the allowance is used up. */
  readonly scansFrom: number;
  /** Slots that were granted earlier, and no call was made with. */
  readonly unused: number;
}

export const noReads: MonthlyReads = { allowance: 0, scansFrom: Infinity, unused: 0 };

/** From this share of the allowance on somebody is told. */
const warnedShare = 0.8;

const thisMonth = { $dateTrunc: { date: '$$NOW', unit: 'month' } };
const isThisMonth = { $eq: ['$month.startedAt', thisMonth] };

/** Begins to count anew where the month is over. */
export const monthBegun: mongo.Document = {
  $set: { month: { $cond: [isThisMonth, '$month', { startedAt: thisMonth, calls: 0 }] } },
};

/** Calls of this month, as a projection: 0 where the last one was in an earlier month. */
export const callsThisMonth = { $cond: [isThisMonth, '$month.calls', 0] };

export const isUsedUp = (allowance: number): mongo.Document => ({ $gte: ['$month.calls', allowance] });

/** Adds calls that were made without a slot. To follow `monthBegun`. */
export const callsCounted = (calls: number): mongo.Document => ({
  $set: { 'month.calls': { $add: ['$month.calls', calls] } },
});

/**
 * Counts the slots that `take` has granted. Leaves in `take.news` 1 where this made 80 % of the allowance full and 2 where it made
 * all of it full, once a month over all replicas, otherwise 0.
 */
export function slotsCounted({ allowance, unused }: MonthlyReads): mongo.Document[] {
  const calls = { $add: ['$month.calls', { $size: '$take.slots' }, -unused] };
  const counted = { $set: { 'month.calls': { $max: [0, calls] } } };
  // The document still holds what the last `take` left.
  if (allowance === 0) return [counted, { $unset: 'take.news' }];
  // By allowance: a larger one is news again, and during a rollout two stand side by side.
  const told = `month.told.of${allowance}`;
  const isFullTo = (share: number): mongo.Document => ({ $gte: ['$month.calls', share * allowance] });
  const level = { $cond: [isFullTo(1), 2, { $cond: [isFullTo(warnedShare), 1, 0] }] };
  const before = { $ifNull: [`$${told}`, 0] };
  const news = { $cond: [{ $gt: [level, before] }, level, 0] };
  return [counted, { $set: { 'take.news': news, [told]: { $max: [level, before] } } }];
}
