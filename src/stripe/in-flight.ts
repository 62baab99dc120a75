// How many calls of this process are under way at once. Scans leave one place to small calls. Where Stripe finds that too many
// are at work, the places are halved, and come back one by one.
import pLimit from 'p-limit';
import type { CallPriority } from '../sync/ports.js';

const leastMsBetweenCuts = 1_000;
const msUntilPlaceReturns = 10_000;

export class InFlight {
  readonly #limit;
  readonly #most: number;
  /** Places taken, by calls at work and by those whose slot is due in a moment. */
  readonly #taken: Record<CallPriority, number> = { small: 0, scan: 0 };
  #places: number;
  #reducedAt = -Infinity;

  constructor(most: number) {
    this.#most = most;
    this.#places = most;
    this.#limit = pLimit(most);
  }

  /** Places that are free for calls of this priority, when `promised` of them are left to others; zero or less: none. */
  room(priority: CallPriority, promised = 0): number {
    const places = this.#placesNow();
    const free = places - this.#taken.small - this.#taken.scan - promised;
    return priority === 'small' ? free : Math.min(free, Math.max(1, places - 1) - this.#taken.scan);
  }

  take(priority: CallPriority): void {
    this.#taken[priority] += 1;
  }

  giveBack(priority: CallPriority): void {
    this.#taken[priority] -= 1;
  }

  /** Runs a task that has a place. */
  run<T>(task: () => Promise<T>): Promise<T> {
    return this.#limit(task);
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
    return Math.min(this.#most, this.#places + returned);
  }
}
