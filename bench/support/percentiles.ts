// What benchmarks say of many durations.

export interface Durations {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Nearest rank (https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method), milliseconds with one decimal. */
export function durationsOf(ms: readonly number[]): Durations {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number): number =>
    Number((sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN).toFixed(1));
  return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}
