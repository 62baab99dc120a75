// The port behind which the rate's budget lies, shared by all replicas. Times are MongoDB's, in milliseconds since 1970.
import type { Limits } from './limits.js';

type Rates = Pick<Limits, 'callsPerSecond' | 'callsPerSecondPerEndpoint'>;

export interface SlotStore {
  /** Takes slots, for the most urgent want first, none further ahead than 100 ms, and counts them as calls of this month. */
  take(wants: readonly string[], rates: Rates, reads: Reads): Promise<Slots>;
  /** Counts calls of this month that were made without a slot. */
  count(calls: number): Promise<void>;
  /** Slows all replicas down, on every endpoint or on one. */
  slowDown(slowdown: Slowdown): Promise<void>;
}

export interface Reads {
  /** Calls that may be made in a calendar month before scans get no slot; 0: any number. */
  readonly allowance: number;
  /** Wants from this index on are of scans. */
  readonly scansFrom: number;
  /** Slots granted earlier that no call was made with. */
  readonly unused: number;
}

/** The calendar month of MongoDB's clock, in UTC. */
export interface Month {
  /** Calls of all replicas so far. */
  readonly calls: number;
  readonly endsAt: number;
  /** What is to be told of the allowance; one replica is given it, once a month. */
  readonly news?: 'nearly_used' | 'used_up' | undefined;
}

interface Slots {
  readonly now: number;
  /** Rate of the whole as Stripe's refusals left it. */
  readonly callsPerSecond: number;
  /** Share of its places in flight that each process may use, as Stripe's refusals left it; absent: all. */
  readonly inFlightShare?: number;
  /** Absent where the store counts nothing. */
  readonly month?: Month;
  /** One a want, in order. */
  readonly slots: readonly Slot[];
}

/** When it is due, or from when on it can be asked for and when it would be due, if nobody else takes it. */
type Slot =
  | { readonly kind: 'granted'; readonly at: number }
  | { readonly kind: 'later'; readonly askAt: number; readonly at: number };

interface Slowdown {
  /** Absent: every endpoint. */
  readonly endpoint?: string | undefined;
  /** Halves the rate. */
  readonly cut: boolean;
  /** Halves the calls in flight of every process. */
  readonly fewerInFlight?: boolean | undefined;
  /** Grants nothing for so long. */
  readonly blockMs: number;
}
