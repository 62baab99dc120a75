// How many list calls should be in flight at once: as many as the rate starts during one call, and some to
// spare.
import type { Limits } from './limits.js';
import type { RateLimiter } from './rate-limiter.js';

/** Latency varies: with 1.2 a tenth of the rate stays unused; more than 1.7 gains nothing. */
const spareFactor = 1.7;
const spareCalls = 4;
/** Assumed until measured: the usual time of a page of 100 customers at Stripe. */
const presumedSeconds = 0.3;
/** The first calls open connections and meet cold caches. */
const coldCalls = 10;
/** Weight of a new answer in the moving mean: about the last twenty count. */
const weight = 0.05;

/** Moving mean of the time that calls to one endpoint take. */
export class ListPace {
  #answers = 0;
  #meanSeconds = presumedSeconds;

  learn(seconds: number): void {
    this.#answers += 1;
    if (this.#answers > coldCalls) this.#meanSeconds += (seconds - this.#meanSeconds) * weight;
  }

  /**
   * Calls that keep the rate in use, at most `most`.
   * @param callsPerSecond 0: unlimited
   */
  atOnce(callsPerSecond: number, most: number): number {
    if (callsPerSecond === 0) return most;
    return Math.min(most, Math.ceil(callsPerSecond * this.#meanSeconds * spareFactor) + spareCalls);
  }
}

/** The paces of all list endpoints. */
export class ListPaces {
  readonly #limits: Limits;
  readonly #limiter: RateLimiter;
  readonly #paces = new Map<string, ListPace>();

  constructor(limits: Limits, limiter: RateLimiter) {
    this.#limits = limits;
    this.#limiter = limiter;
  }

  /** Only a success tells how long a page takes. */
  learn({ endpoint, outcome, seconds }: { endpoint: string; outcome: string; seconds: number }): void {
    if (outcome === 'succeeded') this.#paces.get(endpoint)?.learn(seconds);
  }

  /** How many calls to that endpoint should be in flight now. */
  atOnce(endpoint: string): number {
    const pace = this.#paces.get(endpoint) ?? new ListPace();
    this.#paces.set(endpoint, pace);
    const rates = [this.#limiter.callsPerSecond ?? 0, this.#limits.callsPerSecondPerEndpoint];
    const limited = rates.filter((rate) => rate > 0);
    return pace.atOnce(limited.length === 0 ? 0 : Math.min(...limited), this.#limiter.inFlightForScans);
  }
}
