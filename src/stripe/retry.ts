// The one retry loop around calls to Stripe: exponential back-off with full jitter, Stripe's own wishes first, and an end.
import type { Verdict } from './classify.js';

const retryBaseMs = 500;
export const retryMostMs = 20_000;

/** Wait before the given retry (1, 2, …), at random between nothing and a bound that doubles: full jitter. */
export const backoffMs = (retry: number, random: () => number): number =>
  random() * Math.min(retryMostMs, retryBaseMs * 2 ** (retry - 1));

export type Tried<T> =
  { readonly kind: 'done'; readonly value: T } | { readonly kind: 'failed'; readonly verdict: Verdict };

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

/** Tries until it is done, must not be repeated, or would have to wait beyond the deadline. @throws the last verdict's Fault */
export async function withRetries<T>(
  tryOnce: () => Promise<Tried<T>>,
  { deadlineAt, now, random, sleep, onRetry }: RetryOptions,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    const tried = await tryOnce();
    if (tried.kind === 'done') return tried.value;
    const { verdict } = tried;
    const waitMs = Math.max(backoffMs(attempt, random), verdict.fault.retryAfterMs ?? 0);
    if (!verdict.isRetried || now() + waitMs >= deadlineAt) throw verdict.fault;
    onRetry(verdict, attempt, waitMs);
    await sleep(waitMs);
  }
}
