// Classifies a failed call: for its retries, for its request (a Fault), for the rate and for the metrics.
// Only this file decides. Messages are our own. From Stripe's answer they take only codes and ids, no
// headers, bodies or texts.
import Stripe from 'stripe';
import { Fault, type FaultCode, type FaultKind } from '../base/errors.js';
import { type RateLimitReason, rateLimitReasons } from '../rate/limits.js';
import { type AnswerHeaders, type Exchange, type ExchangeFailure, isSuccess } from './exchange.js';
import type { CallOutcome } from './observer.js';
import type { ProxyFailure } from './proxy.js';

export interface Verdict {
  readonly fault: Fault;
  readonly outcome: CallOutcome;
  /** Whether the same call may succeed in a moment. */
  readonly isRetried: boolean;
  /** Present if Stripe limited the rate. */
  readonly rateLimitReason?: RateLimitReason | undefined;
}

/** An answer whose status is not a success. */
export interface Refusal {
  readonly kind: 'refused';
  readonly status: number;
  /**
   * Class of the SDK's error, such as StripeInvalidRequestError; undefined where the body was not an error of
   * Stripe.
   */
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
  /** A success whose body does not follow Stripe's reference; `what` names the deviation. */
  | { readonly kind: 'invalid'; readonly what: string }
  /** The SDK threw before it sent anything. */
  | { readonly kind: 'unexpected'; readonly name: string };

/** Why an exchange failed; undefined if it succeeded. */
export function failureOf({ status, headers, failure, error }: Exchange): Failure | undefined {
  const hasAnswer = status !== undefined && (failure === undefined || failure.kind === 'no_json');
  if (hasAnswer && !isSuccess(status)) return refusalOf(status, headers, error);
  if (failure) return failure;
  if (status === undefined) {
    return { kind: 'unexpected', name: error instanceof Error ? error.name : typeof error };
  }
  return undefined;
}

function refusalOf(status: number, headers: AnswerHeaders, thrown: unknown): Refusal {
  const error =
    thrown instanceof Stripe.errors.StripeError && thrown.statusCode === status ? thrown : undefined;
  const should = headers['stripe-should-retry'];
  const code = word(error?.code);
  return {
    kind: 'refused',
    status,
    type: error?.type,
    code,
    param: word(error?.param),
    requestId: word(headers['request-id']),
    shouldRetry: should === 'true' ? true : should === 'false' ? false : undefined,
    retryAfterMs: retryAfterMs(headers['retry-after'], Date.now()),
    rateLimitReason:
      status === 429 || code === 'rate_limit'
        ? rateLimitReason(headers['stripe-rate-limited-reason'], code)
        : undefined,
  };
}

/** Names and ids of Stripe's vocabulary. Any other text might quote the request. */
const word = (value: unknown): string | undefined =>
  typeof value === 'string' && /^[A-Za-z0-9_.[\]-]{1,64}$/.test(value) ? value : undefined;

function rateLimitReason(header: unknown, code: string | undefined): RateLimitReason {
  if (code === 'lock_timeout') return 'lock-timeout';
  return rateLimitReasons.find((reason) => reason === header) ?? 'unknown';
}

/** `Retry-After`: seconds or a date (RFC 9110, 10.2.3). */
export function retryAfterMs(header: unknown, now: number): number | undefined {
  if (typeof header !== 'string') return undefined;
  if (/^\d+$/.test(header)) return Number(header) * 1_000;
  const ms = header.endsWith('GMT') ? Date.parse(header) - now : Number.NaN;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** @param endpoint label such as `GET /v1/customers` */
export function judge(failure: Failure, endpoint: string): Verdict {
  switch (failure.kind) {
    case 'refused':
      return judgeRefusal(failure, endpoint);
    case 'timeout':
      return unavailable('timeout', `Stripe did not complete its answer within ${failure.afterMs} ms`);
    case 'connection':
      return unavailable('connection_failed', connectionMessage(failure.code));
    case 'proxy':
      return judgeProxy(failure);
    case 'broken_off':
      return unavailable('invalid_response', 'The connection to Stripe ended in the middle of the answer');
    case 'no_json':
      return invalid("Stripe's answer is not JSON");
    case 'invalid':
      return invalid(`Stripe's answer to ${endpoint} does not follow its reference: ${failure.what}`);
    case 'aborted':
      return { ...transient('aborted', 'cancelled', 'The call to Stripe was aborted'), isRetried: false };
    case 'unexpected':
      return {
        ...transient('connection_failed', 'internal', `Unexpected ${failure.name} while calling Stripe`),
        isRetried: false,
      };
  }
}

/** A failure that may pass within the call's own retries. */
const transient = (outcome: CallOutcome, code: FaultCode, message: string): Verdict => ({
  outcome,
  isRetried: true,
  fault: new Fault(code, message, { kind: 'retryable' }),
});

const unavailable = (outcome: CallOutcome, message: string): Verdict =>
  transient(outcome, 'stripe_unavailable', message);
const invalid = (message: string): Verdict =>
  transient('invalid_response', 'stripe_invalid_response', message);

function connectionMessage(code = 'closed'): string {
  // Codes of OpenSSL for a certificate that no known authority has signed.
  const isUntrusted = /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(GET|VERIFY))_/.test(code);
  const hint =
    '; where a proxy opens TLS, NODE_EXTRA_CA_CERTS must name the file of its certificate authority';
  return `The connection to Stripe failed (${code})${isUntrusted ? hint : ''}`;
}

/** Names the proxy. A fault that a retry within the call cannot fix is left to the request's next attempt. */
function judgeProxy({ proxy, status, code, afterMs }: ProxyFailure): Verdict {
  const failed = (what: string): Verdict => unavailable('connection_failed', `The proxy ${proxy} ${what}`);
  if (status === 407) {
    const message =
      'refused the credentials, or needs some (status 407); set them in HTTPS_PROXY: http://user:password@host:port';
    return { ...failed(message), isRetried: false };
  }
  if (status !== undefined) {
    return { ...failed(`refused a tunnel to Stripe (status ${status})`), isRetried: status >= 500 };
  }
  if (afterMs !== undefined) return failed(`opened no tunnel to Stripe within ${afterMs} ms`);
  // An address without a scheme is treated as https://, which most proxies do not speak.
  const hint = /^(EPROTO|ERR_SSL_)/.test(code ?? '')
    ? '; does it speak plain HTTP? Then its address starts with http://'
    : '';
  return failed(`cannot be reached (${code ?? 'closed'})${hint}`);
}

function judgeRefusal(refusal: Refusal, endpoint: string): Verdict {
  const { outcome, code, kind, message } = meaningOf(refusal, endpoint);
  const isRetried = refusal.shouldRetry ?? kind === 'transient';
  return {
    outcome,
    isRetried,
    rateLimitReason: refusal.rateLimitReason,
    fault: new Fault(code, message, {
      // A call that Stripe asks not to repeat at once may succeed in the request's next attempt, minutes
      // later.
      kind: kind === 'transient' || isRetried ? 'retryable' : kind,
      ...(refusal.retryAfterMs !== undefined && { retryAfterMs: refusal.retryAfterMs }),
      requestId: refusal.requestId,
      statusCode: refusal.status,
      stripeCode: refusal.code,
      ...(refusal.type !== undefined && { cause: new StripeRefusal(refusal.type) }),
    }),
  };
}

interface Meaning {
  readonly outcome: CallOutcome;
  readonly code: FaultCode;
  /** `transient`: the call itself is repeated. `retryable`: it is not, but the request may be tried again. */
  readonly kind: FaultKind | 'transient';
  readonly message: string;
}

function meaningOf({ status, type, code, rateLimitReason }: Refusal, endpoint: string): Meaning {
  const means = (
    outcome: CallOutcome,
    faultCode: FaultCode,
    kind: Meaning['kind'],
    message: string,
  ): Meaning => ({ outcome, code: faultCode, kind, message });
  if (rateLimitReason !== undefined) {
    const message = `Stripe limited the calls (${rateLimitReason})`;
    return means('rate_limited', 'stripe_rate_limited', 'transient', message);
  }
  if (status >= 500 || status === 409) {
    const outcome = status === 409 ? 'rejected' : 'server_error';
    return means(outcome, 'stripe_unavailable', 'transient', `Stripe failed with status ${status}`);
  }
  if (type === undefined) {
    const message = `An answer with status ${status} did not come from Stripe; is a proxy in the way?`;
    return means('invalid_response', 'stripe_invalid_response', 'transient', message);
  }
  if (status === 401) {
    const message =
      'STRIPE_API_KEY was refused by Stripe; it was rolled, revoked or mistyped: create one in the Stripe Dashboard under Developers, API keys, and set it';
    return means('key_refused', 'stripe_key_refused', 'retryable', message);
  }
  if (status === 403) {
    const message = `STRIPE_API_KEY may not call ${endpoint}; in the Stripe Dashboard under Developers, API keys, give the restricted key the permission to read ${nounOf(endpoint)}`;
    return means('permission_denied', 'stripe_permission_denied', 'terminal', message);
  }
  const outcome = code === 'resource_missing' ? 'not_found' : 'rejected';
  const message = `Stripe rejected ${endpoint} with status ${status}${code === undefined ? '' : ` (${code})`}`;
  return means(outcome, 'stripe_rejected', 'terminal', message);
}

/** `customers` of `GET /v1/customers/{id}`, as the Dashboard calls the permission. */
const nounOf = (endpoint: string): string =>
  /\/v1\/(\w+)/.exec(endpoint)?.[1]?.replaceAll('_', ' ') ?? endpoint;

/** Holds the name of the SDK's error, for developers, and no other part of it. */
class StripeRefusal extends Error {
  constructor(type: string) {
    super('Stripe refused the call');
    this.name = type;
  }
}
