// How many calls of this process are under way at once. Scans leave some places to small calls. Where Stripe finds that too many
// are at work, the places are halved, and come back one by one.
import pLimit from 'p-limit';
import type { CallPriority } from '../sync/ports.js';

const leastMsBetweenCuts = 1_000;
const msUntilPlaceReturns = 10_000;
/**
 * A process's first call goes alone, until it has ended or for so long: connecting and warming up delay it, and calls right behind
 * it would arrive together with it, faster than the rate.
 */
const mostMsAlone = 1_000;

/** Stripe may take its time with a list: what small calls have left then must do for many of them, one after the other. */
const leftToSmallOf = (places: number): number => Math.min(3, Math.ceil(places / 4));
const forScansOf = (places: number): number => Math.max(1, places - leftToSmallOf(places));

export class InFlight {
  readonly #limit;
  readonly #most: number;
  /** Places taken, by calls at work and by those that are about to get their slot. */
  readonly #taken: Record<CallPriority, number> = { small: 0, scan: 0 };
  #places: number;
  #reducedAt = -Infinity;
  /** Share of the places that the refusals which all replicas met leave to each; 0 to 1. */
  share = 1;
  #aloneUntil = Infinity;

  constructor(most: number) {
    this.#most = most;
    this.#places = most;
    this.#limit = pLimit(most);
  }

  /** Places that scans may take now. */
  get forScans(): number {
    return forScansOf(this.#placesNow());
  }

  /** Takes a place for a call of this priority; false where none is free. */
  take(priority: CallPriority): boolean {
    const places = performance.now() < this.#aloneUntil ? 1 : this.#placesNow();
    const { small, scan } = this.#taken;
    const isFree = small + scan < places && (priority === 'small' || scan < forScansOf(places));
    if (isFree) this.#taken[priority] += 1;
    return isFree;
  }

  giveBack(priority: CallPriority): void {
    this.#taken[priority] -= 1;
  }

  /** Runs a task that has a place. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    this.#aloneUntil = Math.min(this.#aloneUntil, performance.now() + mostMsAlone);
    try {
      return await this.#limit(task);
    } finally {
      this.#aloneUntil = 0;
    }
  }

  /** Halves the places, at most once a second. */
  reduce(): void {
    const now = performance.now();
    if (now - this.#reducedAt < leastMsBetweenCuts) return;
    this.#places = Math.max(1, Math.floor(this.#placesNow() / 2));
    this.#reducedAt = now;
  }

  #placesNow(): number {
    const returned = Math.floor((performance.now() - this.#reducedAt) / msUntilPlaceReturns);
    const shared = Math.max(1, Math.floor(this.#most * this.share));
    return Math.min(this.#most, shared, this.#places + returned);
  }
}
