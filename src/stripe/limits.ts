// What a key may do per second and at once: the settings, where `auto` depends on the key's mode. Well below Stripe's own limits
// (https://docs.stripe.com/rate-limits), which the user's other traffic shares.
import type { Config } from '../config-schema.js';

export interface Limits {
  /** Calls per second over all endpoints and replicas; 0: unlimited. */
  readonly callsPerSecond: number;
  /** Calls per second of each endpoint over all replicas; 0: unlimited. */
  readonly callsPerSecondPerEndpoint: number;
  /** Calls of this process at once. */
  readonly maxInFlight: number;
}

const automatic = {
  live: { callsPerSecond: 20, callsPerSecondPerEndpoint: 10, maxInFlight: 8 },
  test: { callsPerSecond: 10, callsPerSecondPerEndpoint: 5, maxInFlight: 4 },
} as const satisfies Record<string, Limits>;

type LimitSettings = Pick<Config['stripe'], keyof Limits>;

export function limitsFor(settings: LimitSettings, livemode: boolean): Limits {
  const auto = automatic[livemode ? 'live' : 'test'];
  const chosen = (name: keyof Limits): number => {
    const setting = settings[name];
    return setting === 'auto' ? auto[name] : setting;
  };
  return {
    callsPerSecond: chosen('callsPerSecond'),
    callsPerSecondPerEndpoint: chosen('callsPerSecondPerEndpoint'),
    maxInFlight: chosen('maxInFlight'),
  };
}
