// The port behind which the rate's budget lies, shared by all replicas. Times are MongoDB's, in milliseconds since 1970.
import type { Limits } from './limits.js';

type Rates = Pick<Limits, 'callsPerSecond' | 'callsPerSecondPerEndpoint'>;

export interface SlotStore {
  /** Takes slots, for the most urgent want first, none further ahead than 100 ms. */
  take(wants: readonly string[], rates: Rates): Promise<Slots>;
  /** Slows all replicas down, on every endpoint or on one. */
  slowDown(slowdown: Slowdown): Promise<void>;
}

interface Slots {
  readonly now: number;
  /** Rate of the whole as Stripe's refusals left it. */
  readonly callsPerSecond: number;
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
  /** Grants nothing for so long. */
  readonly blockMs: number;
}
