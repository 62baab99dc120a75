// What benchmarks say of many measurements.

export interface Durations {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** The element with the middle value; of an even number the greater of the two. @throws Error where there are none */
export function middleBy<T>(elements: readonly T[], valueOf: (element: T) => number): T {
  const sorted = [...elements].sort((a, b) => valueOf(a) - valueOf(b));
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new Error('There is no middle of nothing');
  return middle;
}

/** Nearest rank (https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method), milliseconds with one decimal. */
export function durationsOf(ms: readonly number[]): Durations {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number): number =>
    Number((sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN).toFixed(1));
  return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}
