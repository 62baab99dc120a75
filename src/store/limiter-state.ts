// The rate limiter's state: one document of sync_state, taken from by atomic updates on MongoDB's clock, so that all replicas share
// one budget. Slots whose acknowledgement is lost are slots unused; nothing is ever granted twice.
import type { mongo } from 'mongoose';
import {
  horizonMs,
  slowdownPipeline,
  takePipeline,
  type Slowdown,
  type SlotRates,
} from './limiter-pipeline.js';
import type { StateDocument } from './state.js';
import { againOnDuplicate } from './upsert.js';

const documentId = 'rate-limiter';

/** As `takePipeline` leaves it. */
interface Taken {
  readonly now: number;
  readonly factor: number;
  readonly whole: number;
  readonly each: readonly number[];
  readonly skipAheadMs: number;
  readonly slots: readonly { readonly want: number; readonly at: number }[];
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
  /** One a want, in order. */
  readonly slots: readonly Slot[];
}

export interface LimiterState {
  /**
   * Takes slots for calls of the named endpoints, the most urgent first, none of them further ahead than 100 ms.
   * Throws the driver's errors: whoever asked asks again.
   */
  take(wants: readonly string[], rates: SlotRates): Promise<SlotAnswer>;
  /** Slows all replicas down after a 429. */
  slowDown(slowdown: Slowdown): Promise<void>;
}

/** Creates the limiter's state in the collection `sync_state`. */
export function createLimiterState(states: mongo.Collection<StateDocument>): LimiterState {
  const update = (pipeline: mongo.Document[]) =>
    againOnDuplicate(() =>
      states.findOneAndUpdate({ _id: documentId }, pipeline, {
        upsert: true,
        returnDocument: 'after',
        projection: { take: 1 },
        writeConcern: { w: 'majority' },
      }),
    );

  return {
    async take(wants, rates) {
      const document = await update(takePipeline(wants, rates));
      const taken = document?.['take'] as Taken; // the pipeline above has just written it
      return {
        now: taken.now,
        callsPerSecond: rates.callsPerSecond * taken.factor,
        slots: slotsOf(wants, taken),
      };
    },
    async slowDown(slowdown) {
      await update(slowdownPipeline(slowdown));
    },
  };
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
