// What calls to Stripe tell those who measure them. All labels are closed lists.

/** How one attempt of a call ended. */
export type CallOutcome =
  | 'succeeded'
  /** The object or cursor is not there; an answer like any other. */
  | 'not_found'
  | 'rate_limited'
  | 'key_refused'
  | 'permission_denied'
  /** Any other refusal with a status from 400 to 499. */
  | 'rejected'
  | 'server_error'
  | 'timeout'
  | 'connection_failed'
  /** Broken off, no JSON, or not what the reference promises. */
  | 'invalid_response'
  | 'aborted';

export const callOutcomes = [
  'succeeded',
  'not_found',
  'rate_limited',
  'key_refused',
  'permission_denied',
  'rejected',
  'server_error',
  'timeout',
  'connection_failed',
  'invalid_response',
  'aborted',
] as const satisfies readonly CallOutcome[];

/** Why Stripe limited a call: `Stripe-Rate-Limited-Reason` (https://docs.stripe.com/rate-limits), a lock, or no reason it told. */
export type RateLimitReason =
  | 'global-rate'
  | 'endpoint-rate'
  | 'global-concurrency'
  | 'endpoint-concurrency'
  | 'resource-specific'
  | 'lock-timeout'
  | 'unknown';

export const rateLimitReasons = [
  'global-rate',
  'endpoint-rate',
  'global-concurrency',
  'endpoint-concurrency',
  'resource-specific',
  'lock-timeout',
  'unknown',
] as const satisfies readonly RateLimitReason[];

export interface StripeObserver {
  /** One attempt ended, this many seconds after it was let go. `endpoint` is a label such as `GET /v1/customers/{id}`. */
  callFinished(call: {
    readonly endpoint: string;
    readonly outcome: CallOutcome;
    readonly seconds: number;
  }): void;
  /** Stripe answered 429. */
  rateLimited(reason: RateLimitReason): void;
  /** An attempt was let go after waiting this many seconds for a slot of the rate and a place in flight. */
  slotWaited(seconds: number): void;
}
