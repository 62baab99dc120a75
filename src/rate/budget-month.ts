// Calls of the calendar month (UTC, on MongoDB's clock). The update that grants slots also counts them, in
// the budget's document. A used-up allowance stops scans; small calls continue.
import type { mongo } from 'mongoose';

/** The update's parameters for the month. */
export interface ReadsOfMonth {
  /** Calls in a calendar month before scans get no slot; 0: any number. */
  readonly allowance: number;
  /** Calls from this index on belong to scans. */
  readonly scansFrom: number;
  /** Slots that were granted earlier and never used by a call. */
  readonly unused: number;
}

export const noReads: ReadsOfMonth = { allowance: 0, scansFrom: Infinity, unused: 0 };

/** A warning is due from this share of the allowance on. */
const warnedShare = 0.8;

const thisMonth = { $dateTrunc: { date: '$$NOW', unit: 'month' } };
const isThisMonth = { $eq: ['$month.startedAt', thisMonth] };

/** Starts a new count if the month is over. */
export const monthBegun: mongo.Document = {
  $set: { month: { $cond: [isThisMonth, '$month', { startedAt: thisMonth, calls: 0 }] } },
};

/** Projection of this month's calls: 0 where the last call was in an earlier month. */
export const callsThisMonth = { $cond: [isThisMonth, '$month.calls', 0] };

export const isUsedUp = (allowance: number): mongo.Document => ({ $gte: ['$month.calls', allowance] });

/** Adds calls that were made without a slot. Must follow `monthBegun`. */
export const callsCounted = (calls: number): mongo.Document => ({
  $set: { 'month.calls': { $add: ['$month.calls', calls] } },
});

/**
 * Counts the slots that `take` has granted. For each of its levels, `take.news` is nonzero once a month over
 * all replicas.
 */
export function slotsCounted({ allowance, unused }: ReadsOfMonth): mongo.Document[] {
  const calls = { $add: ['$month.calls', { $size: '$take.slots' }, -unused] };
  const counted = { $set: { 'month.calls': { $max: [0, calls] } } };
  // The document still holds what the last `take` left.
  if (allowance === 0) return [counted, { $unset: 'take.news' }];
  // Keyed by allowance: a larger allowance is news again, and two exist during a rollout.
  const told = `month.told.of${allowance}`;
  const isFullTo = (share: number): mongo.Document => ({ $gte: ['$month.calls', share * allowance] });
  const level = { $cond: [isFullTo(1), 2, { $cond: [isFullTo(warnedShare), 1, 0] }] };
  const before = { $ifNull: [`$${told}`, 0] };
  const news = { $cond: [{ $gt: [level, before] }, level, 0] };
  return [counted, { $set: { 'take.news': news, [told]: { $max: [level, before] } } }];
}
