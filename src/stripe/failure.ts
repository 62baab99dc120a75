// How a call to Stripe can fail, reduced to what may be told: no headers, no bodies, no messages of Stripe's.
import type { RateLimitReason } from './observer.js';

/** What ended an exchange before there was an answer. */
export type ExchangeFailure =
  | { readonly kind: 'aborted' }
  | { readonly kind: 'timeout'; readonly afterMs: number }
  /** Refused, reset, not resolved, not trusted; `code` is Node's, such as ECONNREFUSED. */
  | { readonly kind: 'connection'; readonly code: string | undefined }
  | ProxyFailure
  /** The connection ended in the middle of the answer. */
  | { readonly kind: 'broken_off' }
  | { readonly kind: 'no_json' };

/** The proxy on the way to Stripe opened no tunnel. */
export interface ProxyFailure {
  readonly kind: 'proxy';
  /** Its address, without credentials. */
  readonly proxy: string;
  /** What it answered instead. */
  readonly status?: number;
  /** Node's, where it could not be reached or hung up. */
  readonly code?: string | undefined;
  /** It said nothing for so long. */
  readonly afterMs?: number;
}

/** An answer that refuses: any status that is not of success. */
export interface Refusal {
  readonly kind: 'refused';
  readonly status: number;
  /** Class of the SDK's error, such as StripeInvalidRequestError; absent where the body was not Stripe's error. */
  readonly type: string | undefined;
  /** https://docs.stripe.com/error-codes */
  readonly code: string | undefined;
  readonly param: string | undefined;
  readonly requestId: string | undefined;
  /** `Stripe-Should-Retry` */
  readonly shouldRetry: boolean | undefined;
  readonly retryAfterMs: number | undefined;
  readonly rateLimitReason: RateLimitReason | undefined;
}

export type Failure =
  | ExchangeFailure
  | Refusal
  /** Success, but the body is not what the reference promises; `what` says in what respect. */
  | { readonly kind: 'invalid'; readonly what: string }
  /** The SDK threw something before anything was sent. */
  | { readonly kind: 'unexpected'; readonly name: string };
