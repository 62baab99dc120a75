// What calls to Stripe tell those who measure them. All labels are closed lists.
import type { RateLimitReason } from '../rate/limits.js';
import type { LimiterObserver } from '../rate/rate-limiter.js';

/** Beside the endpoints of resources, the one that tells whose account a key is of. */
export const accountEndpoint = 'GET /v1/account';

/** How one attempt of a call ended. */
export const callOutcomes = [
  'succeeded',
  /** The object or cursor is not there; an answer like any other. */
  'not_found',
  'rate_limited',
  'key_refused',
  'permission_denied',
  /** Any other refusal with a status from 400 to 499. */
  'rejected',
  'server_error',
  'timeout',
  'connection_failed',
  /** Broken off, no JSON, or not what the reference promises. */
  'invalid_response',
  'aborted',
] as const;
export type CallOutcome = (typeof callOutcomes)[number];

export interface StripeObserver extends LimiterObserver {
  /** One attempt ended, this many seconds after it was let go. `endpoint` is a label such as `GET /v1/customers/{id}`. */
  callFinished(call: {
    readonly endpoint: string;
    readonly outcome: CallOutcome;
    readonly seconds: number;
  }): void;
  /** Stripe answered 429. */
  rateLimited(reason: RateLimitReason): void;
}
