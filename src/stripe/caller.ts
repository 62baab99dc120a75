// The only way to call Stripe: waits for a slot, makes the call, classifies its answer, and retries while
// that can help.
import { setMaxListeners } from 'node:events';
import type Stripe from 'stripe';
import { Fault, isFault, reportError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { type Backoff, backoffMs, pause } from '../base/waiting.js';
import type { Config } from '../config/schema.js';
import type { ClockReading, MongoClock } from '../mongo/clock.js';
import type { RateLimiter } from '../rate/rate-limiter.js';
import type { SendOptions } from '../resources/resource.js';
import type { Answer, CallOptions } from '../sync/ports.js';
import { type Failure, failureOf, judge, type Refusal, type Verdict } from './classify.js';
import type { Exchange, StripeClient } from './exchange.js';
import type { ApiKey } from './key.js';
import type { CallOutcome, StripeObserver } from './observer.js';

/** An answer with its body exactly as received. */
export interface Reply extends Answer {
  readonly body: unknown;
  /** Stripe's own clock, unix seconds. */
  readonly stripeTime: number;
}

/** One operation and the way to read its answers. */
export interface Call<T> {
  /** A label such as `GET /v1/customers/{id}`. */
  readonly endpoint: string;
  readonly send: (stripe: Stripe, options: SendOptions) => Promise<unknown>;
  /** Throws InvalidAnswer if the body does not follow Stripe's reference; the call is then retried. */
  readonly read: (reply: Reply) => T;
  /** Reads a refusal that is a valid answer; undefined if it is a fault. */
  readonly readRefusal?: (refusal: Refusal, answer: Answer) => T | undefined;
}

/** The answer does not follow Stripe's reference; `message` says in which respect, without quoting it. */
export class InvalidAnswer extends Error {
  override readonly name = 'InvalidAnswer';
}

export interface CallerOptions {
  readonly client: StripeClient;
  readonly limiter: RateLimiter;
  readonly clock: Pick<MongoClock, 'dated'>;
  readonly settings: Pick<Config['stripe'], 'attemptTimeoutMs' | 'callDeadlineMs'>;
  readonly observer: Pick<StripeObserver, 'callFinished' | 'rateLimited'>;
  readonly logger: Logger;
  /** 0 to 1, as Math.random. */
  readonly random: () => number;
  /** Stripe answered 401 or 403. */
  readonly onKeyRefused: (key: ApiKey) => void;
}

/** With less time left, another attempt would only hide the reason of the previous failure. */
const minMsForAttempt = 1_000;

export class Caller {
  readonly #options: CallerOptions;
  readonly #inProgress = new Set<AbortController>();
  #isClosed = false;

  constructor(options: CallerOptions) {
    this.#options = options;
  }

  /**
   * Makes the call. Each attempt uses the current key.
   * @throws a Fault; the signal's reason on abort
   */
  async call<T>(call: Call<T>, options: CallOptions, keyInUse: () => ApiKey): Promise<T> {
    const { signal } = options;
    const ending = new AbortController();
    const onAbort = (): void => ending.abort(signal.reason);
    signal.throwIfAborted();
    if (this.#isClosed) throw closedFault();
    this.#inProgress.add(ending);
    // One listener per call: with many calls on one signal, Node would warn of a leak.
    setMaxListeners(0, signal);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await this.#withRetries(call, { ...options, signal: ending.signal }, keyInUse);
    } catch (error) {
      throw ending.signal.aborted ? ending.signal.reason : error;
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#inProgress.delete(ending);
    }
  }

  /** Ends all calls; they reject with the retryable Fault `shutdown`. */
  close(): void {
    this.#isClosed = true;
    for (const ending of this.#inProgress) ending.abort(closedFault());
  }

  #withRetries<T>(call: Call<T>, options: CallOptions, keyInUse: () => ApiKey): Promise<T> {
    const { limiter, settings, random, logger } = this.#options;
    const { endpoint } = call;
    const { priority, signal } = options;
    const deadlineAt = performance.now() + settings.callDeadlineMs;
    const tryOnce = async (): Promise<Tried<T>> => {
      const heldBack = keyInUse().gate.heldBack(endpoint);
      if (heldBack) throw heldBack;
      return limiter.schedule({ endpoint, priority, signal, deadlineAt }, (reading) =>
        this.#attempt(call, keyInUse(), options, { reading, deadlineAt }),
      );
    };
    return withRetries(tryOnce, {
      deadlineAt: deadlineAt - Math.min(settings.attemptTimeoutMs, minMsForAttempt),
      now: () => performance.now(),
      random,
      sleep: async (ms) => {
        await pause(ms, signal);
        signal.throwIfAborted();
      },
      onRetry: ({ fault }, attempt, waitMs) =>
        logger.debug(
          { endpoint, error: reportError(fault), attempt, waitMs: Math.round(waitMs) },
          'A call to Stripe failed; waiting to retry',
        ),
    });
  }

  async #attempt<T>(
    call: Call<T>,
    key: ApiKey,
    { signal, isTrial = false }: CallOptions,
    { reading, deadlineAt }: { readonly reading: ClockReading; readonly deadlineAt: number },
  ): Promise<Tried<T>> {
    const { client, clock, settings, observer } = this.#options;
    const { endpoint } = call;
    // Checked again: the key may have been refused while this call waited.
    const heldBack = key.gate.enter(endpoint);
    if (heldBack) throw heldBack;
    const startedAt = performance.now();
    const leftMs = Math.max(1, Math.ceil(deadlineAt - startedAt));
    const exchange = await client.exchange((options) => call.send(client.stripe, options), {
      key: key.value,
      timeoutMs: Math.min(settings.attemptTimeoutMs, leftMs),
      signal,
    });
    const receivedAtMs = performance.now();
    const { observed, isCertain } = await clock.dated(reading, startedAt, receivedAtMs);
    const answer = { observed, receivedAtMs: isCertain ? receivedAtMs : -Infinity };
    const tried = readExchange(call, exchange, answer);
    const { outcome } = tried.kind === 'done' ? tried : tried.verdict;
    observer.callFinished({ endpoint, outcome, seconds: (receivedAtMs - startedAt) / 1_000 });
    if (tried.kind === 'done') key.gate.succeeded(endpoint);
    else this.#report(tried.verdict, endpoint, key, isTrial);
    return tried;
  }

  /** Reports a failure that affects more than this call to the limiter, the key and the metrics. */
  #report(
    { fault, outcome, rateLimitReason }: Verdict,
    endpoint: string,
    key: ApiKey,
    isTrial: boolean,
  ): void {
    const { limiter, observer, logger, onKeyRefused } = this.#options;
    if (rateLimitReason !== undefined) {
      observer.rateLimited(rateLimitReason);
      limiter.refused(endpoint, rateLimitReason, fault.retryAfterMs);
    }
    if (outcome === 'key_refused' || outcome === 'permission_denied') {
      const isNews = key.gate.refused(endpoint, fault);
      if (isNews && !isTrial) logger.error({ endpoint, error: reportError(fault) }, 'Stripe refuses the key');
      onKeyRefused(key);
    }
  }
}

function readExchange<T>(call: Call<T>, exchange: Exchange, answer: Answer): Tried<T> {
  const failed = (failure: Failure): Tried<T> => ({ kind: 'failed', verdict: judge(failure, call.endpoint) });
  const failure = failureOf(exchange);
  if (failure?.kind === 'refused') {
    const value = call.readRefusal?.(failure, answer);
    return value === undefined ? failed(failure) : { kind: 'done', value, outcome: 'not_found' };
  }
  if (failure) return failed(failure);
  try {
    const value = call.read({ ...answer, body: exchange.body, stripeTime: stripeTimeOf(exchange, answer) });
    return { kind: 'done', value, outcome: 'succeeded' };
  } catch (error) {
    if (error instanceof InvalidAnswer) return failed({ kind: 'invalid', what: error.message });
    if (!isFault(error)) throw error;
    return { kind: 'failed', verdict: { fault: error, outcome: 'invalid_response', isRetried: false } };
  }
}

/** The `Date` header; if a proxy dropped it, MongoDB's clock. */
function stripeTimeOf({ headers: { date } }: Exchange, { observed }: Answer): number {
  const time = typeof date === 'string' ? Date.parse(date) : Number.NaN;
  return Math.floor((Number.isFinite(time) ? time : observed.from.getTime()) / 1_000);
}

const closedFault = (): Fault => new Fault('shutdown', 'Shutting down: no further calls to Stripe');

/** Waits between attempts of a call; Stripe may request longer ones. */
export const callBackoff: Backoff = { baseMs: 500, maxMs: 20_000 };

export type Tried<T> =
  | { readonly kind: 'done'; readonly value: T; readonly outcome: CallOutcome }
  | { readonly kind: 'failed'; readonly verdict: Verdict };

export interface RetryOptions {
  /** Time of `now` at which no further attempt is begun. */
  readonly deadlineAt: number;
  readonly now: () => number;
  /** 0 to 1, as Math.random. */
  readonly random: () => number;
  /** Rejects on abort. */
  readonly sleep: (ms: number) => Promise<void>;
  readonly onRetry: (verdict: Verdict, attempt: number, waitMs: number) => void;
}

/**
 * The one retry loop around calls to Stripe: exponential backoff with full jitter, never sooner than Stripe
 * asks. It ends when an attempt is done or must not be repeated. It also ends if the next attempt would start
 * after the deadline.
 * @throws the last verdict's Fault
 */
export async function withRetries<T>(
  tryOnce: () => Promise<Tried<T>>,
  { deadlineAt, now, random, sleep, onRetry }: RetryOptions,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    const tried = await tryOnce();
    if (tried.kind === 'done') return tried.value;
    const { verdict } = tried;
    const waitMs = Math.max(backoffMs(callBackoff, attempt, random), verdict.fault.retryAfterMs ?? 0);
    if (!verdict.isRetried || now() + waitMs >= deadlineAt) throw verdict.fault;
    onRetry(verdict, attempt, waitMs);
    await sleep(waitMs);
  }
}
