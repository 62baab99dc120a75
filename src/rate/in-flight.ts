// Permits for the calls that this process has in flight. Scans leave some permits to small calls, more if
// there are more small calls. When Stripe refuses a call for concurrency, the permits are halved; they return
// one by one.
import pLimit from 'p-limit';
import type { CallPriority } from '../sync/ports.js';

const minMsBetweenCuts = 1_000;
const msUntilPermitReturns = 10_000;
/**
 * The first call of a process runs alone, until it has ended or for this long. It has to connect first. Calls
 * started right behind it would reach Stripe together with it, faster than the rate.
 */
const maxMsAlone = 1_000;

/**
 * Scans leave one permit more than small calls recently held at once, at most half. A page may take seconds;
 * until it ends, small calls share the rest.
 * @param mostSmall permits that small calls recently held at once
 */
const forScansOf = (permits: number, mostSmall = 0): number => {
  const forSmall = Math.max(
    Math.min(3, Math.ceil(permits / 4)),
    Math.min(mostSmall + 1, Math.floor(permits / 2)),
  );
  return Math.max(1, permits - forSmall);
};
/** How long a past use of permits by small calls counts: about the time of a few slow pages. */
const smallRememberedMs = 1_000;

export class InFlight {
  readonly #limit;
  readonly #max: number;
  /** Permits held, by calls in flight and by calls that ask for their slot. */
  readonly #held: Record<CallPriority, number> = { small: 0, scan: 0 };
  readonly #mostSmall: RecentMost;
  #permits: number;
  #reducedAt = -Infinity;
  /** Share of the permits that each replica may use after Stripe's 429s; 0 to 1. */
  share = 1;
  #aloneUntil = Infinity;

  constructor(
    max: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#max = max;
    this.#mostSmall = new RecentMost(smallRememberedMs, now);
    this.#permits = max;
    this.#limit = pLimit(max);
  }

  /** Permits that scans may hold when there are few small calls. */
  get forScans(): number {
    return forScansOf(this.#permitsNow());
  }

  /** Takes a permit for a call of this priority; false where none is free. */
  acquire(priority: CallPriority): boolean {
    const permits = this.now() < this.#aloneUntil ? 1 : this.#permitsNow();
    const { small, scan } = this.#held;
    const isFree =
      small + scan < permits && (priority === 'small' || scan < forScansOf(permits, this.#mostSmall.value));
    if (isFree) this.#held[priority] += 1;
    if (isFree && priority === 'small') this.#mostSmall.record(this.#held.small);
    return isFree;
  }

  release(priority: CallPriority): void {
    this.#held[priority] -= 1;
  }

  /** Runs a task that holds a permit. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    this.#aloneUntil = Math.min(this.#aloneUntil, this.now() + maxMsAlone);
    try {
      return await this.#limit(task);
    } finally {
      this.#aloneUntil = 0;
    }
  }

  /** Halves the permits, at most once a second. */
  reduce(): void {
    const now = this.now();
    if (now - this.#reducedAt < minMsBetweenCuts) return;
    this.#permits = Math.max(1, Math.floor(this.#permitsNow() / 2));
    this.#reducedAt = now;
  }

  #permitsNow(): number {
    const returned = Math.floor((this.now() - this.#reducedAt) / msUntilPermitReturns);
    const shared = Math.max(1, Math.floor(this.#max * this.share));
    return Math.min(this.#max, shared, this.#permits + returned);
  }
}

/** The greatest recent value, kept in two numbers. */
class RecentMost {
  #most = 0;
  #mostBefore = 0;
  #sinceMs = -Infinity;

  /**
   * @param rememberedMs how long a value counts; some count up to twice as long
   * @param now milliseconds, from any start
   */
  constructor(
    private readonly rememberedMs: number,
    private readonly now: () => number,
  ) {}

  record(value: number): void {
    this.#expire();
    this.#most = Math.max(this.#most, value);
  }

  /** 0 where there was none. */
  get value(): number {
    this.#expire();
    return Math.max(this.#most, this.#mostBefore);
  }

  #expire(): void {
    const passedMs = this.now() - this.#sinceMs;
    if (passedMs < this.rememberedMs) return;
    this.#mostBefore = passedMs < 2 * this.rememberedMs ? this.#most : 0;
    this.#most = 0;
    this.#sinceMs = this.now();
  }
}
