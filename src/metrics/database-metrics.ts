// Metrics of scope `database`: read from MongoDB when somebody scrapes, at most once in 30 s, and absent while that fails.
import { withDeadline } from '../base/waiting.js';
import { type DatabaseMetricName } from './catalog.js';
import { type Instruments } from './instruments.js';

/** Numbers that are the same from every replica; the store reads them. */
export interface DatabaseNumbers {
  readonly requestsPending: number;
  readonly requestsRunning: number;
  /** Since when the longest waiting request waits; undefined when none does. */
  readonly oldestPendingAt?: Date | undefined;
  /** By kind of object; without an entry before the first complete scan. */
  readonly lastCompleteScanAt: Readonly<Record<string, Date>>;
  /** Customers whose removal is held for approval, by kind of object. */
  readonly removalsHeld: Readonly<Record<string, number>>;
  readonly callsThisMonth: number;
  /** When the database was bound to its Stripe account; undefined before. */
  readonly boundAt?: Date | undefined;
  readonly mirrorObjects: Readonly<Record<string, { readonly live: number; readonly deleted: number }>>;
}

/** Reads the numbers now. The signal is aborted when the answer would come too late. */
export type ReadDatabase = (signal: AbortSignal) => Promise<DatabaseNumbers>;

export interface DatabaseMetricsOptions {
  /** Least time between two reads, in milliseconds. */
  readonly minIntervalMs?: number;
  /** Longest time that a scrape waits for a read, in milliseconds; well below Prometheus' scrape timeout of 10 s. */
  readonly deadlineMs?: number;
  /** Told when reads begin to fail, once until one succeeds. */
  readonly onFault?: (error: unknown) => void;
}

type DatabaseInstruments = Pick<Instruments, DatabaseMetricName>;

export class DatabaseMetrics {
  readonly #instruments: DatabaseInstruments;
  readonly #minIntervalMs: number;
  readonly #deadlineMs: number;
  readonly #onFault: (error: unknown) => void;
  #read: ReadDatabase | undefined;
  #startedAt = -Infinity;
  #underWay: Promise<void> | undefined;
  #isFailing = false;

  constructor(instruments: DatabaseInstruments, options: DatabaseMetricsOptions = {}) {
    this.#instruments = instruments;
    this.#minIntervalMs = options.minIntervalMs ?? 30_000;
    this.#deadlineMs = options.deadlineMs ?? 3_000;
    this.#onFault = options.onFault ?? (() => undefined);
  }

  /** Has the numbers read by `read` from now on; undefined once the database is closed. Until then the metrics are absent. */
  readFrom(read: ReadDatabase | undefined): void {
    this.#read = read;
    this.#startedAt = -Infinity;
    if (!read) this.#clear();
  }

  /** Brings the metrics up to date before a scrape. Concurrent scrapes share one read. Never rejects. */
  async refresh(): Promise<void> {
    const read = this.#read;
    if (this.#underWay) return this.#underWay;
    if (!read || performance.now() - this.#startedAt < this.#minIntervalMs) return;
    this.#startedAt = performance.now();
    this.#underWay = this.#readInTime(read).finally(() => {
      this.#underWay = undefined;
    });
    await this.#underWay;
  }

  async #readInTime(read: ReadDatabase): Promise<void> {
    try {
      const numbers = await withDeadline(this.#deadlineMs, read, () => {
        throw new DOMException('The database took too long', 'TimeoutError');
      });
      if (this.#read === read) this.#set(numbers);
      this.#isFailing = false;
    } catch (error) {
      // Absent rather than old or zero: an alert on absence is true, one on a stale number is not.
      this.#clear();
      if (!this.#isFailing) this.#onFault(error);
      this.#isFailing = true;
    }
  }

  #set(numbers: DatabaseNumbers): void {
    this.#clear();
    const to = this.#instruments;
    to.requests_pending.set(numbers.requestsPending);
    to.requests_running.set(numbers.requestsRunning);
    if (numbers.oldestPendingAt) {
      to.oldest_pending_request_timestamp_seconds.set(numbers.oldestPendingAt.getTime() / 1_000);
    }
    to.stripe_calls_this_month.set(numbers.callsThisMonth);
    for (const [object, held] of Object.entries(numbers.removalsHeld)) to.removals_held.set({ object }, held);
    if (numbers.boundAt) to.mirror_bound_timestamp_seconds.set(numbers.boundAt.getTime() / 1_000);
    for (const [object, at] of Object.entries(numbers.lastCompleteScanAt)) {
      to.last_complete_scan_timestamp_seconds.set({ object }, at.getTime() / 1_000);
    }
    for (const [object, { live, deleted }] of Object.entries(numbers.mirrorObjects)) {
      to.mirror_objects.set({ object, state: 'live' }, live);
      to.mirror_objects.set({ object, state: 'deleted' }, deleted);
    }
  }

  #clear(): void {
    const to = this.#instruments;
    to.requests_pending.remove();
    to.requests_running.remove();
    to.oldest_pending_request_timestamp_seconds.remove();
    to.mirror_bound_timestamp_seconds.remove();
    to.stripe_calls_this_month.remove();
    // With labels, reset leaves no series.
    to.last_complete_scan_timestamp_seconds.reset();
    to.mirror_objects.reset();
    to.removals_held.reset();
  }
}
