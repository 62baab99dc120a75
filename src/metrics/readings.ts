// Gauges that are read at a scrape: the state of this process and the numbers of the database. Each is one
// line of a table.
import type { Gauge } from 'prom-client';
import { type RefusedWrites, writtenParts } from '../mongo/refused-writes.js';
import type { RequestWorker } from '../requests/worker/worker.js';
import type { DatabaseStats } from '../status/database-stats.js';
import type { StripeGateway } from '../stripe/gateway.js';
import { keyRefusals } from '../stripe/key.js';
import { catalog, type Catalog, type DatabaseMetricName, type MetricName } from './catalog.js';
import type { Instruments, LabelName } from './instruments.js';

type GaugeName = { [N in MetricName]: Catalog[N]['type'] extends 'gauge' ? N : never }[MetricName];

/** What a gauge shows: a number, or each series with its labels. Undefined: it is absent. */
type Reading<N extends GaugeName> = [LabelName<N>] extends [never]
  ? number | undefined
  : readonly (readonly [labels: Readonly<Record<LabelName<N>, string>>, value: number])[];

type Readings<Source, N extends GaugeName> = { readonly [Name in N]: (source: Source) => Reading<Name> };

const unixSeconds = (at: Date): number => at.getTime() / 1_000;
const perObject = (values: Readonly<Record<string, number>>) =>
  Object.entries(values).map(([object, value]) => [{ object }, value] as const);

export const databaseReadings: Readings<DatabaseStats, DatabaseMetricName> = {
  requests_pending: ({ requestsPending }) => requestsPending,
  requests_running: ({ requestsRunning }) => requestsRunning,
  oldest_pending_request_timestamp_seconds: ({ oldestPendingAt }) =>
    oldestPendingAt && unixSeconds(oldestPendingAt),
  last_complete_scan_timestamp_seconds: ({ lastCompleteScanAt }) =>
    Object.entries(lastCompleteScanAt).map(([object, at]) => [{ object }, unixSeconds(at)]),
  scan_left_out: ({ scanLeftOut }) => perObject(scanLeftOut),
  removals_held: ({ removalsHeld }) => perObject(removalsHeld),
  mirror_bound_timestamp_seconds: ({ boundAt }) => boundAt && unixSeconds(boundAt),
  mirror_objects: ({ mirrorObjects }) =>
    Object.entries(mirrorObjects).flatMap(([object, { live, deleted }]) => [
      [{ object, state: 'live' }, live] as const,
      [{ object, state: 'deleted' }, deleted] as const,
    ]),
  stripe_calls_this_month: ({ callsThisMonth }) => callsThisMonth,
};

/** The parts of this process whose states are gauges. */
export interface Parts {
  readonly gateway: Pick<StripeGateway, 'effectiveRate' | 'configuredRate' | 'keyRefusals'>;
  readonly worker: Pick<RequestWorker, 'lastPollAt'>;
}

/** With what metrics itself keeps. */
interface Shown extends Parts {
  readonly refused: Pick<RefusedWrites, 'has'>;
}

const orUnlimited = (callsPerSecond: number | undefined): number => callsPerSecond || Infinity;

export const stateReadings = {
  stripe_key_refused({ gateway }) {
    const refusals = gateway.keyRefusals();
    return keyRefusals.map((reason) => [{ reason }, refusals.includes(reason) ? 1 : 0]);
  },
  mongodb_refuses_writes: ({ refused }) => writtenParts.map((part) => [{ part }, refused.has(part) ? 1 : 0]),
  rate_limiter_calls_per_second: ({ gateway }) => orUnlimited(gateway.effectiveRate()),
  rate_limiter_max_calls_per_second: ({ gateway }) => orUnlimited(gateway.configuredRate),
  last_poll_timestamp_seconds: ({ worker: { lastPollAt } }) =>
    lastPollAt === undefined ? undefined : (Date.now() - (performance.now() - lastPollAt)) / 1_000,
} satisfies Partial<Readings<Shown, GaugeName>>;

/** Updates the gauges of a table. Without a source all of them are absent. */
export function showReadings<Source, N extends GaugeName>(
  instruments: Instruments,
  readings: Readings<Source, N>,
  source: Source | undefined,
): void {
  for (const name of Object.keys(readings) as N[]) {
    const gauge: Gauge = instruments[name];
    const reading: number | readonly (readonly [Record<string, string>, number])[] | undefined =
      source && readings[name](source);
    // A reset leaves no series where there are labels, and a zero where there are none.
    if (Object.keys(catalog[name].labels).length > 0) gauge.reset();
    else gauge.remove();
    if (typeof reading === 'number') gauge.set(reading);
    else for (const [labels, value] of reading ?? []) gauge.set(labels, value);
  }
}
