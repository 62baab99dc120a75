// The limits of a key, per second and at once: the settings, where `auto` depends on the key's mode. The
// automatic values are well below Stripe's own limits (https://docs.stripe.com/rate-limits), which the user's
// other traffic shares.
import type { Config } from '../config/schema.js';

export interface Limits {
  /** Calls per second over all endpoints and replicas; 0: unlimited. */
  readonly callsPerSecond: number;
  /** Calls per second of each endpoint over all replicas; 0: unlimited. */
  readonly callsPerSecondPerEndpoint: number;
  /** Calls of this process at once. */
  readonly maxInFlight: number;
}

const automatic = {
  live: { callsPerSecond: 20, callsPerSecondPerEndpoint: 10 },
  test: { callsPerSecond: 10, callsPerSecondPerEndpoint: 5 },
} as const satisfies Record<string, Omit<Limits, 'maxInFlight'>>;

/**
 * Permits for each call per second of an endpoint: enough to use the whole rate while answers take half a
 * second. The automatic rates give 8 in live mode and 4 in a sandbox; a higher rate gives more.
 */
const inFlightPerRate = 0.8;
const minInFlight = 4;
const inFlightUnlimited = 16;
const largestInFlight = 256;

type LimitSettings = Pick<Config['stripe'], keyof Limits>;

export function limitsFor(settings: LimitSettings, livemode: boolean): Limits {
  const auto = automatic[livemode ? 'live' : 'test'];
  const chosen = (name: keyof typeof auto): number => {
    const setting = settings[name];
    return setting === 'auto' ? auto[name] : setting;
  };
  const rates = {
    callsPerSecond: chosen('callsPerSecond'),
    callsPerSecondPerEndpoint: chosen('callsPerSecondPerEndpoint'),
  };
  const { maxInFlight } = settings;
  return { ...rates, maxInFlight: maxInFlight === 'auto' ? inFlightFor(rates) : maxInFlight };
}

function inFlightFor({ callsPerSecond, callsPerSecondPerEndpoint }: Omit<Limits, 'maxInFlight'>): number {
  const limited = [callsPerSecond, callsPerSecondPerEndpoint].filter((rate) => rate > 0);
  if (limited.length === 0) return inFlightUnlimited;
  const most = Math.ceil(Math.min(...limited) * inFlightPerRate);
  return Math.min(largestInFlight, Math.max(minInFlight, most));
}

/**
 * Why Stripe limited a call: `Stripe-Rate-Limited-Reason` (https://docs.stripe.com/rate-limits), a lock, or
 * no known reason.
 */
export const rateLimitReasons = [
  'global-rate',
  'endpoint-rate',
  'global-concurrency',
  'endpoint-concurrency',
  'resource-specific',
  'lock-timeout',
  'unknown',
] as const;
export type RateLimitReason = (typeof rateLimitReasons)[number];
