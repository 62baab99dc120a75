// The rate limiter's state: one document of sync_state, taken from by atomic updates on MongoDB's clock, so that all replicas share
// one budget. Slots whose acknowledgement is lost are slots unused; nothing is ever granted twice.
import { stateIds } from '../mongo/sync-state.js';
import type { mongo } from 'mongoose';
import { againOnDuplicate } from '../mongo/faults.js';
import type { StateDocument } from '../mongo/sync-state.js';
import { callsCounted, callsThisMonth, monthBegun, type MonthlyReads } from './budget-month.js';
import {
  horizonMs,
  type SlotRates,
  type Slowdown,
  slowdownPipeline,
  takePipeline,
} from './budget-pipeline.js';

/** As `takePipeline` leaves it. */
interface Taken {
  readonly now: number;
  readonly factor: number;
  readonly inFlight: number;
  readonly news?: 0 | 1 | 2;
  readonly whole: number;
  readonly each: readonly number[];
  readonly skipAheadMs: number;
  readonly slots: readonly { readonly want: number; readonly at: number }[];
}

interface StoredMonth {
  readonly startedAt: Date;
  readonly calls: number;
}

/** What became of a want: its slot, or when to ask for one and when that would be due, if nobody else takes it. */
export type Slot =
  | { readonly kind: 'granted'; readonly at: number }
  | { readonly kind: 'later'; readonly askAt: number; readonly at: number };

export interface SlotAnswer {
  /** MongoDB's time when the slots were taken; milliseconds since 1970, as all times here. */
  readonly now: number;
  /** Rate of the whole at that time; 0: unlimited. */
  readonly callsPerSecond: number;
  /** Share of its places in flight that each process may use, as refusals left it; above 0, at most 1. */
  readonly inFlightShare: number;
  readonly month: MonthSoFar;
  /** One a want, in order. */
  readonly slots: readonly Slot[];
}

/** The calendar month of MongoDB's clock, in UTC. */
export interface MonthSoFar {
  /** Calls of all replicas, those with the slots just granted included. */
  readonly calls: number;
  readonly endsAt: number;
  /** What these slots made of the allowance, told once a month over all replicas: 80 % are used, or all of it. */
  readonly news: 'nearly_used' | 'used_up' | undefined;
}

export interface LimiterState {
  /**
   * Takes slots for calls of the named endpoints, the most urgent first, none of them further ahead than 100 ms, and counts them.
   * Throws the driver's errors: whoever asked asks again.
   */
  take(wants: readonly string[], rates: SlotRates, reads?: MonthlyReads): Promise<SlotAnswer>;
  /** Counts calls that were made without a slot. */
  count(calls: number): Promise<void>;
  /** Slows all replicas down after a 429. */
  slowDown(slowdown: Slowdown): Promise<void>;
}

/** Creates the limiter's state in the collection `sync_state`. */
export function createLimiterState(states: mongo.Collection<StateDocument>): LimiterState {
  const update = (pipeline: mongo.Document[]) =>
    againOnDuplicate(() =>
      states.findOneAndUpdate({ _id: stateIds.rateLimiter }, pipeline, {
        upsert: true,
        returnDocument: 'after',
        projection: { take: 1, month: 1 },
      }),
    );

  return {
    async take(wants, rates, reads) {
      const document = await update(takePipeline(wants, rates, reads));
      // The pipeline above has just written them.
      const { take: taken, month } = document as unknown as { take: Taken; month: StoredMonth };
      return {
        now: taken.now,
        callsPerSecond: rates.callsPerSecond * taken.factor,
        inFlightShare: taken.inFlight,
        month: {
          calls: month.calls,
          endsAt: monthAfter(month.startedAt),
          news: taken.news === 2 ? 'used_up' : taken.news === 1 ? 'nearly_used' : undefined,
        },
        slots: slotsOf(wants, taken),
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

const monthAfter = (month: Date): number => Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1);

/** Calls that all replicas have made in this calendar month (UTC, MongoDB's clock). Throws the driver's errors. */
export async function readCallsThisMonth(states: mongo.Collection<StateDocument>): Promise<number> {
  const found = await states.findOne(
    { _id: stateIds.rateLimiter },
    { projection: { calls: callsThisMonth } },
  );
  return Number(found?.['calls'] ?? 0);
}

function slotsOf(wants: readonly string[], { whole, each, slots, skipAheadMs }: Taken): Slot[] {
  const endpoints = [...new Set(wants)];
  const grantedAt = new Map(slots.map(({ want, at }) => [want, at]));
  return wants.map((name, want) => {
    const own = grantedAt.get(want);
    if (own !== undefined) return { kind: 'granted', at: own };
    const due = each[endpoints.indexOf(name)] ?? whole;
    const at = Math.max(whole, due);
    return { kind: 'later', at, askAt: at - (due > whole ? skipAheadMs : horizonMs) };
  });
}
