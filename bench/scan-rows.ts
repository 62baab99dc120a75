// The rows of the table that hold the rate: what each scans, and what it has to reach.
import type { Account } from './scan-place.js';

export interface RateRow {
  readonly name: string;
  readonly account: Account;
  /** Calls per second. */
  readonly rate: number;
  /** Of the ceiling, rate × 100 customers a second. */
  readonly leastShare?: number;
  /** Times customers / 100. */
  readonly mostPages?: number;
  readonly mostMiB?: number;
  /** Peak memory, times that of the row named. */
  readonly mostMemoryOf?: { readonly row: string; readonly factor: number };
}

const account = (
  customers: number,
  distribution: Account['distribution'],
  latency = 300,
  jitter = 0,
): Account => ({ customers, distribution, latency, jitter });

export const rateRows: readonly RateRow[] = [
  { name: 'growth-25', account: account(100_000, 'growth'), rate: 25, leastShare: 0.96 },
  { name: 'spike-25', account: account(100_000, 'spike', 300, 250), rate: 25, leastShare: 0.95 },
  { name: 'spike-100', account: account(400_000, 'spike', 300, 250), rate: 100, leastShare: 0.94 },
  // No bar of its own: the next one's memory is compared with it.
  { name: 'small-100', account: account(100_000, 'growth'), rate: 100 },
  {
    name: 'million-100',
    account: account(1_000_000, 'growth'),
    rate: 100,
    leastShare: 0.96,
    mostPages: 1.03,
    mostMiB: 160,
    mostMemoryOf: { row: 'small-100', factor: 1.15 },
  },
];

/** 20 % of the customers in one second, which can only be walked page after page; the rest must not wait for it. */
export const sameSecondRow = {
  name: 'same-second-25',
  account: account(100_000, 'same-second'),
  rate: 25,
  /** The rest takes longer than this at the full rate. */
  observedSeconds: 30,
  leastShareMeanwhile: 0.95,
} as const;

/** Without limit and latency, beside a bare loop; then again with nothing changed; then with some changed and removed. */
export const unlimitedRow = {
  name: 'unlimited',
  account: account(100_000, 'growth', 0),
  rounds: 3,
  leastOfBareLoop: 0.6,
  mostOfFirstTime: 0.6,
  changed: 1_000,
  removed: 100,
} as const;

export const mostEventLoopDelayMs = 100;

export const inWords = ({ customers, distribution, latency, jitter }: Account, rate: number): string =>
  [
    `${customers.toLocaleString('en')} customers`,
    rate === 0 ? 'no limit' : `${rate} calls/s`,
    latency === 0 ? 'no latency' : `${latency}${jitter > 0 ? ` ± ${jitter}` : ''} ms`,
    distribution,
  ].join(', ');
