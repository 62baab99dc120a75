// What a failed call means: for its own retries, for the request behind it (a Fault), for the rate and for the metrics. Decided
// here and nowhere else. Messages are ours; of Stripe's answer only codes and ids are told.
import Stripe from 'stripe';
import { Fault, type FaultCode, type FaultKind } from '../base/errors.js';
import { type RateLimitReason, rateLimitReasons } from '../rate/limits.js';
import { type AnswerHeaders, type Exchange, isSuccess } from './exchange.js';
import type { CallOutcome } from './observer.js';

export interface Verdict {
  readonly fault: Fault;
  readonly outcome: CallOutcome;
  /** Whether the same call may succeed in a moment. */
  readonly isRetried: boolean;
  /** Present where Stripe limited the rate. */
  readonly rateLimitReason?: RateLimitReason | undefined;
}

/** What went wrong in an exchange; undefined where it was answered with success. */
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

/** Names and ids of Stripe's vocabulary; anything else might quote what was sent. */
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
      return passing(
        'timeout',
        'stripe_unavailable',
        `Stripe did not finish its answer within ${failure.afterMs} ms`,
      );
    case 'connection':
      return passing(
        'connection_failed',
        'stripe_unavailable',
        `The connection to Stripe failed (${failure.code ?? 'closed'})${isUntrusted(failure.code) ? trustHint : ''}`,
      );
    case 'proxy':
      return judgeProxy(failure);
    case 'broken_off':
      return passing('invalid_response', 'stripe_unavailable', "Stripe's answer broke off");
    case 'no_json':
      return passing('invalid_response', 'stripe_invalid_response', "Stripe's answer is not JSON");
    case 'invalid':
      return passing(
        'invalid_response',
        'stripe_invalid_response',
        `Stripe's answer to ${endpoint} is not what its reference promises: ${failure.what}`,
      );
    case 'aborted':
      return { ...passing('aborted', 'cancelled', 'The call to Stripe was aborted'), isRetried: false };
    case 'unexpected':
      return {
        ...passing('connection_failed', 'internal', `Unexpected ${failure.name} while calling Stripe`),
        isRetried: false,
      };
  }
}

function passing(outcome: CallOutcome, code: FaultCode, message: string): Verdict {
  return { outcome, isRetried: true, fault: new Fault(code, message, { kind: 'retryable' }) };
}

/** Codes of OpenSSL for a certificate that no known authority vouches for. */
const isUntrusted = (code = ''): boolean => /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(GET|VERIFY))_/.test(code);
const trustHint =
  '; where a proxy opens TLS, NODE_EXTRA_CA_CERTS must name the file of its certificate authority';

/** What keeps calls from Stripe is told as such; what a retry in a moment cannot mend is left to the request's next attempt. */
function judgeProxy({ proxy, status, code, afterMs }: ProxyFailure): Verdict {
  const failed = (what: string): Verdict =>
    passing('connection_failed', 'stripe_unavailable', `The proxy ${proxy} ${what}`);
  if (status === 407) {
    const message =
      'refused the credentials, or wants some (status 407); HTTPS_PROXY gives them: http://user:password@host:port';
    return { ...failed(message), isRetried: false };
  }
  if (status !== undefined) {
    return { ...failed(`refused a tunnel to Stripe (status ${status})`), isRetried: status >= 500 };
  }
  if (afterMs !== undefined) return failed(`opened no tunnel to Stripe within ${afterMs} ms`);
  // An address without a scheme is taken for https://, which most proxies do not speak.
  const hint = /^(EPROTO|ERR_SSL_)/.test(code ?? '')
    ? '; does it speak plain HTTP? Then its address starts with http://'
    : '';
  return failed(`cannot be reached (${code ?? 'closed'})${hint}`);
}

function judgeRefusal(refusal: Refusal, endpoint: string): Verdict {
  const { outcome, code, kind, message } = meaningOf(refusal, endpoint);
  const isRetried = refusal.shouldRetry ?? kind === 'passing';
  return {
    outcome,
    isRetried,
    rateLimitReason: refusal.rateLimitReason,
    fault: new Fault(code, message, {
      // What Stripe asks not to repeat at once may still pass by the request's next attempt, minutes later.
      kind: kind === 'passing' || isRetried ? 'retryable' : kind,
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
  /** `passing`: the call itself is repeated. `retryable`: it is not, but the request may be tried again. */
  readonly kind: FaultKind | 'passing';
  readonly message: string;
}

function meaningOf(refusal: Refusal, endpoint: string): Meaning {
  const { status, type, code } = refusal;
  if (refusal.rateLimitReason !== undefined) {
    return {
      outcome: 'rate_limited',
      code: 'stripe_rate_limited',
      kind: 'passing',
      message: `Stripe limited the calls (${refusal.rateLimitReason})`,
    };
  }
  if (status >= 500 || status === 409) {
    return {
      outcome: status === 409 ? 'rejected' : 'server_error',
      code: 'stripe_unavailable',
      kind: 'passing',
      message: `Stripe failed with status ${status}`,
    };
  }
  if (type === undefined) {
    return {
      outcome: 'invalid_response',
      code: 'stripe_invalid_response',
      kind: 'passing',
      message: `An answer with status ${status} is not Stripe's; is a proxy in the way?`,
    };
  }
  if (status === 401) {
    return { outcome: 'key_refused', code: 'stripe_key_refused', kind: 'retryable', message: keyRefused };
  }
  if (status === 403) {
    return {
      outcome: 'permission_denied',
      code: 'stripe_permission_denied',
      kind: 'terminal',
      message: `STRIPE_API_KEY may not call ${endpoint}; give the restricted key read access to it in the Stripe Dashboard`,
    };
  }
  return {
    outcome: code === 'resource_missing' ? 'not_found' : 'rejected',
    code: 'stripe_rejected',
    kind: 'terminal',
    message: `Stripe rejected ${endpoint} with status ${status}${code === undefined ? '' : ` (${code})`}`,
  };
}

const keyRefused =
  'STRIPE_API_KEY was refused by Stripe; it was rolled, revoked or mistyped: create one in the Stripe Dashboard under Developers, API keys, and set it anew';

/** Tells the class of the SDK's error, for those who read the code, and nothing else of it. */
class StripeRefusal extends Error {
  constructor(type: string) {
    super('Stripe refused the call');
    this.name = type;
  }
}

// How a call to Stripe can fail, reduced to what may be told: no headers, no bodies, no messages of Stripe's.
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
