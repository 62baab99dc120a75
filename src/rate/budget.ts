// The budget of calls that all replicas share: one document of the state, updated atomically on MongoDB's
// clock. If an answer is lost, its slots stay unused; no slot is granted twice. Times are MongoDB's, in
// milliseconds since 1970.
import type { mongo } from 'mongoose';
import { againOnDuplicate } from '../mongo/faults.js';
import { type StateDocument, stateIds } from '../mongo/sync-state.js';
import { callsCounted, callsThisMonth, monthBegun, type ReadsOfMonth } from './budget-month.js';
import {
  factorNow,
  horizonMs,
  type Rates,
  type Slowdown,
  slowdownPipeline,
  type StoredSlots,
  takePipeline,
} from './budget-pipeline.js';

export interface Budget {
  /**
   * Takes slots for calls of the named endpoints, the most urgent first, and counts them as calls of this
   * month. No slot is further ahead than `horizonMs`. Throws the driver's errors: the caller asks again.
   */
  take(endpoints: readonly string[], rates: Rates, reads?: ReadsOfMonth): Promise<TakenSlots>;
  /** Counts calls of this month that were made without a slot. */
  count(calls: number): Promise<void>;
  /** Slows all replicas down after a 429. */
  slowDown(slowdown: Slowdown): Promise<void>;
}

export interface TakenSlots {
  /** MongoDB's time when the slots were taken. */
  readonly now: number;
  /** Rate of the whole account after Stripe's 429s; 0: unlimited. */
  readonly callsPerSecond: number;
  /** Share of its permits that each process may use after Stripe's 429s; above 0, at most 1. */
  readonly inFlightShare: number;
  readonly month: Month;
  /** One per call, in order. */
  readonly slots: readonly Slot[];
}

/**
 * A granted slot and when it is due. Otherwise: when to ask again, and when the slot is due if nobody else
 * takes it.
 */
export type Slot =
  | { readonly kind: 'granted'; readonly at: number }
  | { readonly kind: 'later'; readonly askAt: number; readonly at: number };

/** The calendar month of MongoDB's clock, in UTC. */
export interface Month {
  /** Calls of all replicas, those with the slots just granted included. */
  readonly calls: number;
  readonly endsAt: number;
  /** News of the allowance: 80 % or all of it is used. One replica gets the news, once a month. */
  readonly news?: 'nearly_used' | 'used_up' | undefined;
}

/** Keeps the budget in the collection of the state. */
export function createBudget(states: mongo.Collection<StateDocument>): Budget {
  const update = (pipeline: mongo.Document[]) =>
    againOnDuplicate(() =>
      states.findOneAndUpdate({ _id: stateIds.rateLimiter }, pipeline, {
        upsert: true,
        returnDocument: 'after',
        projection: { take: 1, month: 1 },
      }),
    );

  return {
    async take(endpoints, rates, reads) {
      const document = await update(takePipeline(endpoints, rates, reads));
      // The pipeline above has just written them.
      const { take: taken, month } = document as unknown as {
        take: StoredSlots;
        month: { startedAt: Date; calls: number };
      };
      return {
        now: taken.now,
        callsPerSecond: rates.callsPerSecond * taken.factor,
        inFlightShare: taken.inFlight,
        month: {
          calls: month.calls,
          endsAt: Date.UTC(month.startedAt.getUTCFullYear(), month.startedAt.getUTCMonth() + 1),
          news: taken.news === 2 ? 'used_up' : taken.news === 1 ? 'nearly_used' : undefined,
        },
        slots: slotsOf(endpoints, taken),
      };
    },
    async count(calls) {
      await update([monthBegun, callsCounted(calls)]);
    },
    async slowDown(slowdown) {
      await update(slowdownPipeline(slowdown));
    },
  };
}

function slotsOf(calls: readonly string[], { whole, each, slots, skipAheadMs }: StoredSlots): Slot[] {
  const endpoints = [...new Set(calls)];
  const grantedAt = new Map(slots.map(({ want, at }) => [want, at]));
  return calls.map((endpoint, call) => {
    const own = grantedAt.get(call);
    if (own !== undefined) return { kind: 'granted', at: own };
    const due = each[endpoints.indexOf(endpoint)] ?? whole;
    const at = Math.max(whole, due);
    return { kind: 'later', at, askAt: at - (due > whole ? skipAheadMs : horizonMs) };
  });
}

/** What the budget's document tells of the whole account. */
export interface BudgetState {
  /** Share of the rate that Stripe's refusals have left for now, 0 to 1. */
  readonly share: number;
  /** When Stripe last answered 429. */
  readonly slowedAt: Date | null;
  /** Calls of all replicas in this calendar month (UTC, MongoDB's clock). */
  readonly callsThisMonth: number;
}

/** Throws the driver's errors. */
export async function readBudget(states: mongo.Collection<StateDocument>): Promise<BudgetState> {
  const slowed = { $map: { input: { $objectToArray: '$endpoints' }, in: '$$this.v.slowedAt' } };
  const slowedAt = { $max: [{ $max: slowed }, '$whole.slowedAt'] };
  const projection = { share: factorNow(), slowedAt, calls: callsThisMonth };
  const found = await states.findOne({ _id: stateIds.rateLimiter }, { projection });
  return {
    share: Number(found?.['share'] ?? 1),
    slowedAt: typeof found?.['slowedAt'] === 'number' ? new Date(found['slowedAt']) : null,
    callsThisMonth: Number(found?.['calls'] ?? 0),
  };
}
