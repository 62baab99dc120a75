// When a request that met a passing fault is tried again. Pure: time and chance are given.

export interface BackOff {
  /** Longest wait before the second attempt, in milliseconds; doubles with every further one. */
  readonly baseMs: number;
  /** Longest wait before any, in milliseconds. */
  readonly maxMs: number;
}

/** Nobody is made to wait longer than this by a `Retry-After`. */
const longestWaitMs = 86_400_000;

/**
 * Milliseconds to wait after the given attempt (1, 2, …): exponential with full jitter, and not before `retryAfterMs`, to which the
 * jitter is added, or all that were told the same time would come back at once.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function retryDelayMs(
  attempt: number,
  backOff: BackOff,
  random: () => number,
  retryAfterMs = 0,
): number {
  const exponent = Math.min(Math.max(attempt, 1) - 1, 40);
  const ceilingMs = Math.min(backOff.maxMs, backOff.baseMs * 2 ** exponent);
  const toldMs = Number.isFinite(retryAfterMs) ? Math.max(retryAfterMs, 0) : 0;
  return Math.round(Math.min(toldMs + random() * ceilingMs, longestWaitMs));
}
