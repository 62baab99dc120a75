// Metrics of scope `database`. A scrape reads them from MongoDB at most once in 30 s. They are absent while
// that fails.
import { withDeadline } from '../base/waiting.js';
import type { DatabaseStats } from '../status/database-stats.js';
import type { Instruments } from './instruments.js';
import { databaseReadings, showReadings } from './readings.js';

/** Reads the statistics now. The signal is aborted when the result would come too late. */
export type ReadDatabase = (signal: AbortSignal) => Promise<DatabaseStats>;

export interface DatabaseMetricsOptions {
  /** Longest wait of a scrape for a read, in milliseconds; well below Prometheus' scrape timeout of 10 s. */
  readonly deadlineMs?: number;
  /** Called when reads begin to fail, once until one succeeds. */
  readonly onFault?: (error: unknown) => void;
}

const minIntervalMs = 30_000;

export class DatabaseMetrics {
  readonly #instruments: Instruments;
  readonly #deadlineMs: number;
  readonly #onFault: (error: unknown) => void;
  #read: ReadDatabase | undefined;
  #startedAt = -Infinity;
  #underWay: Promise<void> | undefined;
  #isFailing = false;

  constructor(
    instruments: Instruments,
    { deadlineMs = 3_000, onFault = () => undefined }: DatabaseMetricsOptions,
  ) {
    this.#instruments = instruments;
    this.#deadlineMs = deadlineMs;
    this.#onFault = onFault;
  }

  /**
   * Sets the function that reads the metrics. They are absent before the first call and after a call with
   * undefined.
   */
  readFrom(read: ReadDatabase | undefined): void {
    this.#read = read;
    this.#startedAt = -Infinity;
    if (!read) this.#show(undefined);
  }

  /** Brings the metrics up to date before a scrape. Concurrent scrapes share one read. Never rejects. */
  async refresh(): Promise<void> {
    const read = this.#read;
    if (this.#underWay) return this.#underWay;
    if (!read || performance.now() - this.#startedAt < minIntervalMs) return;
    this.#startedAt = performance.now();
    this.#underWay = this.#readInTime(read).finally(() => {
      this.#underWay = undefined;
    });
    await this.#underWay;
  }

  async #readInTime(read: ReadDatabase): Promise<void> {
    try {
      const stats = await withDeadline(this.#deadlineMs, read, () => {
        throw new DOMException('The database did not answer in time', 'TimeoutError');
      });
      if (this.#read === read) this.#show(stats);
      this.#isFailing = false;
    } catch (error) {
      // Absent rather than stale or zero: an alert on absence is correct, an alert on a stale number is not.
      this.#show(undefined);
      if (!this.#isFailing) this.#onFault(error);
      this.#isFailing = true;
    }
  }

  #show(stats: DatabaseStats | undefined): void {
    showReadings(this.#instruments, databaseReadings, stats);
  }
}
