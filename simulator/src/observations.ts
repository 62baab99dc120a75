// What the simulator saw: a bounded log of calls, and counters that cost nothing to keep.
import { SlidingWindow } from './rate-limits.js';
import type { CallInfo, RateLimitReason, RecordedCall, Stats } from './types.js';

export class Observations {
  private stats = emptyStats();
  private arrivals = new SlidingWindow();
  private log: RecordedCall[] = [];
  private oldest = 0;

  constructor(private logSize: number) {}

  /** Starts a call's record. It is filled in place as the call goes on. */
  arrive(call: CallInfo, keySuffix: string | undefined, requestId: string): RecordedCall {
    const arrivedAt = performance.timeOrigin + performance.now();
    const { stats } = this;
    stats.calls[call.endpoint] = (stats.calls[call.endpoint] ?? 0) + 1;
    stats.inFlight += 1;
    stats.maxInFlight = Math.max(stats.maxInFlight, stats.inFlight);
    if (call.endpoint === 'write') stats.writes += 1;
    this.arrivals.add(arrivedAt);
    stats.callsPerSecond = Math.max(stats.callsPerSecond, this.arrivals.count(arrivedAt));
    const { method, url, endpoint } = call;
    const record: RecordedCall = {
      method,
      url,
      endpoint,
      keySuffix,
      requestId,
      status: undefined,
      arrivedAt,
      answeredAt: undefined,
      fault: undefined,
    };
    this.keep(record);
    return record;
  }

  /** Notes that headers with this status are on their way. */
  answered(record: RecordedCall, status: number): void {
    record.status = status;
    record.answeredAt = performance.timeOrigin + performance.now();
    const byStatus = (this.stats.answers[record.endpoint] ??= {});
    byStatus[status] = (byStatus[status] ?? 0) + 1;
  }

  refused(reason: RateLimitReason | 'lock_timeout'): void {
    this.stats.refused[reason] = (this.stats.refused[reason] ?? 0) + 1;
  }

  left(): void {
    this.stats.inFlight -= 1;
  }

  snapshot(): Stats {
    return structuredClone(this.stats);
  }

  /** Oldest first. */
  requests(): RecordedCall[] {
    return [...this.log.slice(this.oldest), ...this.log.slice(0, this.oldest)];
  }

  setLogSize(size: number): void {
    const kept = size === 0 ? [] : this.requests().slice(-size);
    this.logSize = size;
    this.log = kept;
    this.oldest = 0;
  }

  /** Forgets everything but the calls in flight. */
  reset(): void {
    const { inFlight } = this.stats;
    this.stats = { ...emptyStats(), inFlight, maxInFlight: inFlight };
    this.arrivals = new SlidingWindow();
    this.log = [];
    this.oldest = 0;
  }

  private keep(record: RecordedCall): void {
    if (this.logSize === 0) return;
    if (this.log.length < this.logSize) {
      this.log.push(record);
      return;
    }
    this.log[this.oldest] = record;
    this.oldest = (this.oldest + 1) % this.logSize;
  }
}

function emptyStats(): Stats {
  return {
    calls: {},
    answers: {},
    refused: {},
    inFlight: 0,
    maxInFlight: 0,
    writes: 0,
    callsPerSecond: 0,
  };
}
