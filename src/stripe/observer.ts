// The events of calls to Stripe that metrics are made of. All labels are closed lists.
import type { ClockObserver } from '../mongo/clock.js';
import type { RateLimitReason } from '../rate/limits.js';
import type { LimiterObserver } from '../rate/rate-limiter.js';

/** The only endpoint that belongs to no resource: it returns the account of a key. */
export const accountEndpoint = 'GET /v1/account';

/** How one attempt of a call ended. */
export const callOutcomes = [
  'succeeded',
  /** The object or cursor does not exist; also an answer. */
  'not_found',
  'rate_limited',
  'key_refused',
  'permission_denied',
  /** Any other refusal with a status from 400 to 499. */
  'rejected',
  'server_error',
  'timeout',
  'connection_failed',
  /** Incomplete, not JSON, or not as in Stripe's reference. */
  'invalid_response',
  'aborted',
] as const;
export type CallOutcome = (typeof callOutcomes)[number];

export interface StripeObserver extends LimiterObserver, ClockObserver {
  /**
   * One attempt ended, this many seconds after it started. `endpoint` is a label such as `GET
   * /v1/customers/{id}`.
   */
  callFinished(call: {
    readonly endpoint: string;
    readonly outcome: CallOutcome;
    readonly seconds: number;
  }): void;
  /** Stripe answered 429. */
  rateLimited(reason: RateLimitReason): void;
}
