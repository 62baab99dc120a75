// Every metric of this service, once. docs/metrics.md, the instruments and the contract tests are made from
// this list. A new metric is a row here and a line where it moves: observer.ts for events, readings.ts for
// gauges that are read at a scrape. Names follow https://prometheus.io/docs/practices/naming/: base units,
// `_total` for counters only.
import { faultCodes } from '../base/errors.js';
import { writtenParts } from '../mongo/refused-writes.js';
import { rateLimitReasons } from '../rate/limits.js';
import { laneNames } from '../requests/commands.js';
import { commandLabels } from '../requests/observer.js';
import { endStatuses } from '../requests/request.js';
import { resources } from '../resources/registry.js';
import type { Resource } from '../resources/resource.js';
import { scheduleNames, slotOutcomes } from '../schedule/schedule.js';
import { keyRefusals } from '../stripe/key.js';
import { accountEndpoint, callOutcomes } from '../stripe/observer.js';
import { outcomes } from '../sync/outcome.js';

export const metricPrefix = 'stripe_sync_';

/**
 * `process`: what this replica did; sum over replicas. `database`: the same from every replica; take the
 * maximum, never the sum.
 */
type MetricScope = 'process' | 'database';

/** A closed list of values, or where the values come from. */
export type LabelValues = readonly string[] | { readonly from: string };

interface MetricBase {
  readonly help: string;
  readonly unit: string;
  readonly scope: MetricScope;
  readonly labels: Readonly<Record<string, LabelValues>>;
}

export type MetricSpec =
  | (MetricBase & { readonly type: 'counter' })
  | (MetricBase & { readonly type: 'gauge' })
  /** Upper bounds, in the unit. */
  | (MetricBase & { readonly type: 'histogram'; readonly buckets: readonly number[] });

/** The label of a value that is outside the closed list. */
const otherValue = 'other';

const objects = resources.map(({ object }) => object);
const failureCodes = Object.keys(faultCodes);
const endpoints = [
  ...new Set(
    resources.flatMap((resource: Resource) => [
      resource.list.endpoint,
      resource.retrieve.endpoint,
      ...(resource.testClocks ? [resource.testClocks.endpoint] : []),
    ]),
  ),
  accountEndpoint,
];
const waitBuckets = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 3_600] as const;

export const catalog = {
  requests_total: {
    type: 'counter',
    help: 'Requests that ended, by command and final status.',
    unit: 'requests',
    scope: 'process',
    labels: { command: commandLabels, status: endStatuses },
  },
  request_failures_total: {
    type: 'counter',
    help: 'Requests that failed, by the code of their error.',
    unit: 'requests',
    scope: 'process',
    labels: { code: failureCodes },
  },
  request_duration_seconds: {
    type: 'histogram',
    help: 'Duration of the last attempt of requests that ended.',
    unit: 'seconds',
    scope: 'process',
    labels: { command: commandLabels },
    buckets: [0.01, 0.1, 1, 10, 60, 300, 900, 3_600, 14_400],
  },
  request_wait_seconds: {
    type: 'histogram',
    help: 'Time from when a request could first have been claimed to its claim, by lane: a scan may wait for another scan.',
    unit: 'seconds',
    scope: 'process',
    labels: { lane: laneNames },
    buckets: waitBuckets,
  },
  requests_pending: {
    type: 'gauge',
    help: 'Requests that wait, those with a later runAt included.',
    unit: 'requests',
    scope: 'database',
    labels: {},
  },
  requests_running: {
    type: 'gauge',
    help: 'Requests that a replica holds.',
    unit: 'requests',
    scope: 'database',
    labels: {},
  },
  oldest_pending_request_timestamp_seconds: {
    type: 'gauge',
    help: 'Since when the longest waiting request that is due has waited; absent when none waits.',
    unit: 'unix time in seconds',
    scope: 'database',
    labels: {},
  },
  last_complete_scan_timestamp_seconds: {
    type: 'gauge',
    help: 'When the last complete scan ended; absent before the first. Outlives restarts.',
    unit: 'unix time in seconds',
    scope: 'database',
    labels: { object: objects },
  },
  removals_held: {
    type: 'gauge',
    help: 'Customers whose removal the last scan holds for approval; 0 once they are approved or a later complete scan supersedes them.',
    unit: 'objects',
    scope: 'database',
    labels: { object: objects },
  },
  scan_left_out: {
    type: 'gauge',
    help: 'Objects that the last scan that ended could not mirror or check, each a failed item of its result; absent before the first scan.',
    unit: 'objects',
    scope: 'database',
    labels: { object: objects },
  },
  scan_disordered_objects_total: {
    type: 'counter',
    help: 'Objects that Stripe listed out of order: they are mirrored, and near them no object is concluded missing.',
    unit: 'objects',
    scope: 'process',
    labels: { object: objects },
  },
  mirror_bound_timestamp_seconds: {
    type: 'gauge',
    help: 'When the database was bound to its Stripe account: since when a mirror without a complete scan has been without one.',
    unit: 'unix time in seconds',
    scope: 'database',
    labels: {},
  },
  schedule_interval_seconds: {
    type: 'gauge',
    help: 'Longest time between two slots of a cron schedule; absent where it is off. The same from every replica: take the max.',
    unit: 'seconds',
    scope: 'process',
    labels: { schedule: scheduleNames },
  },
  scan_progress_ratio: {
    type: 'gauge',
    help: 'Progress of the scan that runs in this process, 0 to 1; absent when none runs.',
    unit: 'ratio',
    scope: 'process',
    labels: {},
  },
  objects_total: {
    type: 'counter',
    help: 'Objects that requests brought into the mirror, by what became of them.',
    unit: 'objects',
    scope: 'process',
    labels: { object: objects, outcome: outcomes },
  },
  mirror_objects: {
    type: 'gauge',
    help: 'Objects in the mirror, live and marked as deleted.',
    unit: 'objects',
    scope: 'database',
    labels: { object: objects, state: ['live', 'deleted'] },
  },
  stripe_calls_total: {
    type: 'counter',
    help: 'Calls to Stripe, every attempt counted, by endpoint and how they ended.',
    unit: 'calls',
    scope: 'process',
    labels: { endpoint: endpoints, outcome: callOutcomes },
  },
  stripe_call_duration_seconds: {
    type: 'histogram',
    help: 'Time from letting one attempt of a call to Stripe go to its end.',
    unit: 'seconds',
    scope: 'process',
    labels: { endpoint: endpoints },
    buckets: [0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 80],
  },
  stripe_rate_limited_total: {
    type: 'counter',
    help: 'Answers 429 of Stripe, by the reason it gave.',
    unit: 'calls',
    scope: 'process',
    labels: { reason: rateLimitReasons },
  },
  stripe_key_refused: {
    type: 'gauge',
    help: 'Whether the key in use is refused at present, or a new key was found that cannot be used: 1 for the reason it is, 0 for the others.',
    unit: 'none',
    scope: 'process',
    labels: { reason: keyRefusals },
  },
  stripe_calls_this_month: {
    type: 'gauge',
    help: 'Calls to Stripe that all replicas have made in this calendar month (UTC). Outlives restarts.',
    unit: 'calls',
    scope: 'database',
    labels: {},
  },
  stripe_monthly_read_allowance: {
    type: 'gauge',
    help: 'Calls in a calendar month that stripe.monthlyReadAllowance allows before scans are held; absent without an allowance. Take the max.',
    unit: 'calls',
    scope: 'process',
    labels: {},
  },
  rate_limiter_wait_seconds: {
    type: 'histogram',
    help: 'Time that calls waited for the rate limiter and for a place in flight.',
    unit: 'seconds',
    scope: 'process',
    labels: {},
    buckets: waitBuckets,
  },
  rate_limiter_calls_per_second: {
    type: 'gauge',
    help: 'Rate that the limiter keeps at present over all endpoints, one budget for all replicas: take the max, not the sum. That of one endpoint may be lower. +Inf: unlimited.',
    unit: 'calls per second',
    scope: 'process',
    labels: {},
  },
  rate_limiter_max_calls_per_second: {
    type: 'gauge',
    help: 'Rate that the settings allow, one budget for all replicas: take the max, not the sum. +Inf: unlimited.',
    unit: 'calls per second',
    scope: 'process',
    labels: {},
  },
  mongodb_write_duration_seconds: {
    type: 'histogram',
    help: 'Time until a bulk write to the mirror was acknowledged.',
    unit: 'seconds',
    scope: 'process',
    labels: {},
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
  },
  mongodb_refuses_writes: {
    type: 'gauge',
    help: 'Whether MongoDB refused the last write of this replica, of the mirror, of the requests or of the state, for a reason that lies in no document: a missing right, a view, a block of writes, a full disk. 1 for at least a minute, until a write is taken, or for an hour where nothing is written.',
    unit: 'none',
    scope: 'process',
    labels: { part: writtenParts },
  },
  stored_times_ahead_of_clock_total: {
    type: 'counter',
    help: 'Stored times found ahead of the clock of MongoDB, which has been set back: not believed.',
    unit: 'objects',
    scope: 'process',
    labels: {},
  },
  mongodb_clock_moves_total: {
    type: 'counter',
    help: "Moves of MongoDB's clock by 100 ms or more, as this replica noticed them: NTP, a failover, a suspended machine.",
    unit: 'moves',
    scope: 'process',
    labels: { direction: ['forward', 'back'] },
  },
  schedule_slots_total: {
    type: 'counter',
    help: 'Slots of a cron schedule that this replica decided, by what became of them.',
    unit: 'slots',
    scope: 'process',
    labels: { schedule: scheduleNames, outcome: slotOutcomes },
  },
  last_poll_timestamp_seconds: {
    type: 'gauge',
    help: 'Last turn of the poll loop, which turns whether MongoDB answers or not; absent before the first.',
    unit: 'unix time in seconds',
    scope: 'process',
    labels: {},
  },
  build_info: {
    type: 'gauge',
    help: 'Always 1; its labels say what runs.',
    unit: 'none',
    scope: 'process',
    labels: {
      version: { from: 'package.json' },
      node: { from: 'the running Node' },
      stripe_api_version: { from: 'stripe.apiVersion' },
    },
  },
} as const satisfies Readonly<Record<string, MetricSpec>>;

export type Catalog = typeof catalog;
export type MetricName = keyof Catalog;
export type DatabaseMetricName = {
  [N in MetricName]: Catalog[N]['scope'] extends 'database' ? N : never;
}[MetricName];

/** The catalog as a list. */
export const metricSpecs: readonly (readonly [MetricName, MetricSpec])[] = Object.entries(catalog) as [
  MetricName,
  MetricSpec,
][]; // Object.entries forgets the names

/**
 * The labels of one series. A value outside its label's closed list becomes `other`, so that no input can
 * create a new series.
 */
export function seriesOf<N extends MetricName>(
  name: N,
  labels: Readonly<Record<keyof Catalog[N]['labels'] & string, string>>,
): Readonly<Record<keyof Catalog[N]['labels'] & string, string>> {
  const series: Record<string, string> = { ...labels };
  for (const [label, values] of Object.entries<LabelValues>(catalog[name].labels)) {
    const value = series[label];
    if (value !== undefined && !('from' in values) && !values.includes(value)) series[label] = otherValue;
  }
  return series as typeof labels; // the same labels
}
