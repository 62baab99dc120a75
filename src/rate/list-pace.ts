// How many calls to list are worth having under way at once: as many as the rate lets go while one of them is answered, and some to spare.
import type { Limits } from './limits.js';

interface FinishedCall {
  readonly endpoint: string;
  readonly outcome: string;
  readonly seconds: number;
}

/** Answers do not come evenly: with 1.2 a tenth of the rate stays unused where latency varies; more than 1.7 gains nothing. */
const spareFactor = 1.7;
const spareCalls = 4;
/** Until it is known: what a page of 100 customers usually takes at Stripe. */
const presumedSeconds = 0.3;
/** The first calls open connections and find everything cold. */
const coldCalls = 10;
/** Of a new answer in the moving mean: the last twenty or so count. */
const weight = 0.05;

/** How long calls to one endpoint take: a moving mean. */
export class ListPace {
  #answers = 0;
  #meanSeconds = presumedSeconds;

  /** Takes note of an answer that took so long. */
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

/** What the limiter allows at present. */
interface Allowed {
  /** Undefined: unlimited. */
  readonly callsPerSecond: number | undefined;
  readonly inFlightForScans: number;
}

/** The paces of all endpoints that list. */
export class ListPaces {
  readonly #limits: Limits;
  readonly #allowed: Allowed;
  readonly #paces = new Map<string, ListPace>();

  constructor(limits: Limits, allowed: Allowed) {
    this.#limits = limits;
    this.#allowed = allowed;
  }

  /** Of a refusal or a broken call one learns nothing about how long pages take. */
  learn({ endpoint, outcome, seconds }: FinishedCall): void {
    if (outcome === 'succeeded') this.#paces.get(endpoint)?.learn(seconds);
  }

  /** How many calls to that endpoint are worth having under way now. */
  atOnce(endpoint: string): number {
    const pace = this.#paces.get(endpoint) ?? new ListPace();
    this.#paces.set(endpoint, pace);
    const rates = [this.#allowed.callsPerSecond ?? 0, this.#limits.callsPerSecondPerEndpoint];
    const limited = rates.filter((rate) => rate > 0);
    return pace.atOnce(limited.length === 0 ? 0 : Math.min(...limited), this.#allowed.inFlightForScans);
  }
}
