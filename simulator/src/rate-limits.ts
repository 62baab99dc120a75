// Stripe's limiters (https://docs.stripe.com/rate-limits), by sliding windows of one second: stricter than Stripe's
// token buckets, so a client that passes here passes there. One instance counts one account in one mode.
import type { EndpointName, Limits, RateLimitReason } from './types.js';

/** The limits Stripe documents for live mode and for sandboxes. */
export const DOCUMENTED_LIMITS = {
  live: { globalPerSecond: 100, endpointPerSecond: 25 },
  test: { globalPerSecond: 25, endpointPerSecond: 25 },
} as const satisfies Record<string, Limits>;

const WINDOW_MS = 1000;

export class RateLimiter {
  private readonly globalWindow = new SlidingWindow();
  private readonly endpointWindows = new Map<EndpointName, SlidingWindow>();
  private inFlight = 0;
  private readonly endpointInFlight = new Map<EndpointName, number>();

  /** The reason to refuse a call that arrives at `now` (milliseconds), or undefined after counting it. */
  refuse(endpoint: EndpointName, limits: Limits, now: number): RateLimitReason | undefined {
    const window = this.windowOf(endpoint);
    const perEndpoint = valueFor(limits.endpointPerSecond, endpoint);
    const concurrent = valueFor(limits.endpointConcurrency, endpoint);
    if (this.globalWindow.count(now) >= (limits.globalPerSecond ?? Infinity)) return 'global-rate';
    if (window.count(now) >= perEndpoint) return 'endpoint-rate';
    if (this.inFlight >= (limits.globalConcurrency ?? Infinity)) return 'global-concurrency';
    if ((this.endpointInFlight.get(endpoint) ?? 0) >= concurrent) return 'endpoint-concurrency';
    // Only what is let through uses up the budget, as with Stripe's buckets.
    this.globalWindow.add(now);
    window.add(now);
    return undefined;
  }

  enter(endpoint: EndpointName): void {
    this.inFlight += 1;
    this.endpointInFlight.set(endpoint, (this.endpointInFlight.get(endpoint) ?? 0) + 1);
  }

  leave(endpoint: EndpointName): void {
    this.inFlight -= 1;
    this.endpointInFlight.set(endpoint, (this.endpointInFlight.get(endpoint) ?? 0) - 1);
  }

  private windowOf(endpoint: EndpointName): SlidingWindow {
    const existing = this.endpointWindows.get(endpoint);
    if (existing !== undefined) return existing;
    const window = new SlidingWindow();
    this.endpointWindows.set(endpoint, window);
    return window;
  }
}

/** Moments of the last second, oldest first. */
export class SlidingWindow {
  private moments: number[] = [];
  private first = 0;

  add(now: number): void {
    this.moments.push(now);
  }

  /** How many were added after one second before now. */
  count(now: number): number {
    while (this.first < this.moments.length && (this.moments[this.first] ?? 0) <= now - WINDOW_MS) {
      this.first += 1;
    }
    if (this.first > 1024) {
      this.moments = this.moments.slice(this.first);
      this.first = 0;
    }
    return this.moments.length - this.first;
  }
}

function valueFor(limit: number | Partial<Record<EndpointName, number>> | undefined, endpoint: EndpointName) {
  return (typeof limit === 'object' ? limit[endpoint] : limit) ?? Infinity;
}
