// How many calls of this process are under way at once. Scans leave some places to small calls, the more the more of those there are. Where
// Stripe finds that too many are at work, the places are halved, and come back one by one.
import pLimit from 'p-limit';
import type { CallPriority } from '../sync/ports.js';

const leastMsBetweenCuts = 1_000;
const msUntilPlaceReturns = 10_000;
/**
 * A process's first call goes alone, until it has ended or for so long: connecting and warming up delay it, and calls right behind
 * it would arrive together with it, faster than the rate.
 */
const mostMsAlone = 1_000;

/**
 * Stripe may take its time with a list: what small calls have left then must do for many of them, one after the other. So they have one place
 * more than they took at once of late, up to half of all.
 * @param mostSmall places that small calls took at once of late
 */
const leftToSmallOf = (places: number, mostSmall: number): number =>
  Math.max(Math.min(3, Math.ceil(places / 4)), Math.min(mostSmall + 1, Math.floor(places / 2)));
const forScansOf = (places: number, mostSmall = 0): number =>
  Math.max(1, places - leftToSmallOf(places, mostSmall));
/** How long what small calls took is remembered: some pages that take their time. */
const smallRememberedMs = 1_000;

export class InFlight {
  readonly #limit;
  readonly #most: number;
  /** Places taken, by calls at work and by those that are about to get their slot. */
  readonly #taken: Record<CallPriority, number> = { small: 0, scan: 0 };
  readonly #mostSmall: RecentMost;
  #places: number;
  #reducedAt = -Infinity;
  /** Share of the places that the refusals which all replicas met leave to each; 0 to 1. */
  share = 1;
  #aloneUntil = Infinity;

  constructor(
    most: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#most = most;
    this.#mostSmall = new RecentMost(smallRememberedMs, now);
    this.#places = most;
    this.#limit = pLimit(most);
  }

  /** Places that scans may take where there are few small calls. */
  get forScans(): number {
    return forScansOf(this.#placesNow());
  }

  /** Takes a place for a call of this priority; false where none is free. */
  take(priority: CallPriority): boolean {
    const places = this.now() < this.#aloneUntil ? 1 : this.#placesNow();
    const { small, scan } = this.#taken;
    const isFree =
      small + scan < places && (priority === 'small' || scan < forScansOf(places, this.#mostSmall.value));
    if (isFree) this.#taken[priority] += 1;
    if (isFree && priority === 'small') this.#mostSmall.saw(this.#taken.small);
    return isFree;
  }

  giveBack(priority: CallPriority): void {
    this.#taken[priority] -= 1;
  }

  /** Runs a task that has a place. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    this.#aloneUntil = Math.min(this.#aloneUntil, this.now() + mostMsAlone);
    try {
      return await this.#limit(task);
    } finally {
      this.#aloneUntil = 0;
    }
  }

  /** Halves the places, at most once a second. */
  reduce(): void {
    const now = this.now();
    if (now - this.#reducedAt < leastMsBetweenCuts) return;
    this.#places = Math.max(1, Math.floor(this.#placesNow() / 2));
    this.#reducedAt = now;
  }

  #placesNow(): number {
    const returned = Math.floor((this.now() - this.#reducedAt) / msUntilPlaceReturns);
    const shared = Math.max(1, Math.floor(this.#most * this.share));
    return Math.min(this.#most, shared, this.#places + returned);
  }
}

// The greatest of the values seen of late, in a memory of two numbers.
export class RecentMost {
  #most = 0;
  #mostBefore = 0;
  #sinceMs = -Infinity;

  /**
   * @param rememberedMs how long a value counts; it may do so twice as long
   * @param now milliseconds, from any start
   */
  constructor(
    private readonly rememberedMs: number,
    private readonly now: () => number,
  ) {}

  saw(value: number): void {
    this.#turn();
    this.#most = Math.max(this.#most, value);
  }

  /** 0 where none was seen. */
  get value(): number {
    this.#turn();
    return Math.max(this.#most, this.#mostBefore);
  }

  #turn(): void {
    const passedMs = this.now() - this.#sinceMs;
    if (passedMs < this.rememberedMs) return;
    this.#mostBefore = passedMs < 2 * this.rememberedMs ? this.#most : 0;
    this.#most = 0;
    this.#sinceMs = this.now();
  }
}
