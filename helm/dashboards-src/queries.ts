// What the dashboards ask Prometheus: selectors by the variables, and the few forms of query that fit the scopes of the catalog.
import type { DatabaseMetricName, MetricName } from '../../src/metrics/catalog.js';
import { metricPrefix } from '../../src/metrics/catalog.js';

const chosenJobs = 'cluster=~"$cluster", namespace=~"$namespace", job=~"$job"';
const job = ['cluster', 'namespace', 'job'];
const braces = (...matchers: readonly string[]): string =>
  `{${matchers.filter((matcher) => matcher !== '').join(', ')}}`;
const by = (labels: readonly string[]): string => `by (${labels.join(', ')})`;

/** A metric of the chosen jobs, whatever the pod. */
export const ofJobs = (name: MetricName, matchers = '', suffix = ''): string =>
  `${metricPrefix}${name}${suffix}${braces(chosenJobs, matchers)}`;

/** A metric of the chosen pods of the chosen jobs. */
export const ofPods = (name: MetricName, matchers = '', suffix = ''): string =>
  `${metricPrefix}${name}${suffix}${braces(chosenJobs, 'pod=~"$pod"', matchers)}`;

/** One of Node's or the process's own metrics, which other programs have too: of pods that run this one. */
export const ofProcess = (name: `${'process' | 'nodejs'}_${string}`): string =>
  `${name}${braces(chosenJobs, 'pod=~"$pod"')}`;

/** A number that every replica tells alike, once a job. */
export const shared = (name: DatabaseMetricName, labels: readonly string[] = [], matchers = ''): string =>
  `max ${by([...job, ...labels])} (${ofJobs(name, matchers)})`;

/** As `shared`, of the one that is longest ago. */
export const oldest = (name: DatabaseMetricName): string => `min ${by(job)} (${ofJobs(name)})`;

/** A state that each replica tells for itself, the highest of a job. */
export const highest = (name: MetricName, labels: readonly string[] = [], matchers = ''): string =>
  `max ${by([...job, ...labels])} (${ofJobs(name, matchers)})`;

/** Events a second over the chosen pods. */
export const perSecond = (name: MetricName, labels: readonly string[] = [], matchers = ''): string =>
  `sum ${by([...job, ...labels])} (rate(${ofPods(name, matchers)}[$__rate_interval]))`;

/** Events a second over the chosen jobs. */
export const perSecondOfJobs = (name: MetricName, labels: readonly string[] = [], matchers = ''): string =>
  `sum ${by([...job, ...labels])} (rate(${ofJobs(name, matchers)}[$__rate_interval]))`;

/** Events of a time over the chosen jobs. */
export const countIn = (
  time: string,
  name: MetricName,
  labels: readonly string[] = [],
  matchers = '',
): string => `sum ${by([...job, ...labels])} (increase(${ofJobs(name, matchers)}[${time}]))`;

/** Without those that are no number, as nothing has happened: they would only fill the legend. */
const ifAny = (expr: string): string => `${expr} >= 0`;

/** A quantile of a histogram over the chosen pods. */
export const quantile = (of: number, name: MetricName, labels: readonly string[] = []): string =>
  ifAny(
    `histogram_quantile(${of}, sum ${by([...job, ...labels, 'le'])} (rate(${ofPods(name, '', '_bucket')}[$__rate_interval])))`,
  );

/** Seconds since the last complete scan, or since the database was bound to its account where there was none. */
export const mirrorAge = `time() - (min ${by(job)} (${ofJobs('last_complete_scan_timestamp_seconds')}) or ${oldest('mirror_bound_timestamp_seconds')})`;
/** Twice the interval of its schedule; nothing where there is none. */
export const mirrorAgeLimit = `2 * max ${by(job)} (${ofJobs('schedule_interval_seconds', 'schedule="syncAll"')})`;
export const mirrorAgeOfLimit = `(${mirrorAge}) / (${mirrorAgeLimit})`;
/** 0 where nothing waits, as long as MongoDB can be read. */
export const oldestWait = `(time() - ${oldest('oldest_pending_request_timestamp_seconds')}) or 0 * ${shared('requests_pending')}`;

const progress = ofJobs('scan_progress_ratio');
export const scanProgress = highest('scan_progress_ratio');
/** Seconds until the scan's end at its latest pace; over a longer time the scan before it would count, too. */
export const scanEta = `max ${by(job)} ((1 - ${progress}) / (deriv(${progress}[$__rate_interval]) > 0))`;

const callsUsed = `${shared('stripe_calls_this_month')} / ${highest('stripe_monthly_read_allowance')}`;
export const allowanceUsed = callsUsed;

/** Faults that are the request's own: the objective counts them as served, as the recording rules do. */
const ownFault =
  'invalid_request|unknown_command|invalid_id|invalid_object|not_found|not_in_account|deleted_in_stripe|deletion_unverified|wrong_mode|document_too_large';
const failedIn = (time: string): string => countIn(time, 'request_failures_total', [], `code!~"${ownFault}"`);

/** Share of requests that ran and did not fail for reasons that are not their own. */
export const notFailedShare = (time: string): string =>
  ifAny(
    `1 - ${failedIn(time)} / ${countIn(time, 'requests_total', [], 'status=~"succeeded|partial|failed"')}`,
  );

/** Share of requests that are no scans and were claimed within 5 s. Prometheus 3 writes the bound as 5.0. */
export const claimedInTimeShare = (time: string): string => {
  const counted = (matchers: string, suffix: string): string =>
    `sum ${by(job)} (increase(${ofJobs('request_wait_seconds', matchers, suffix)}[${time}]))`;
  return ifAny(
    `${counted('lane="small", le=~"5([.]0)?"', '_bucket')} / ${counted('lane="small"', '_count')}`,
  );
};

/**
 * How bad a job's state is: 1 where the worst of its limits is reached (age of the mirror, ten minutes of waiting, 1 % failed in an hour,
 * the month's allowance, removals held, a key refused).
 */
export const trouble = ((): string => {
  const parts = {
    age: mirrorAgeOfLimit,
    wait: `(${oldestWait}) / 600`,
    failures: `(1 - (${notFailedShare('1h')})) / 0.01`,
    allowance: callsUsed,
    held: `${shared('removals_held')} > bool 0`,
    key: `max ${by(job)} (${ofJobs('stripe_key_refused')})`,
  };
  const named = Object.entries(parts).map(
    ([name, expr]) => `label_replace(${expr}, "of", "${name}", "", "")`,
  );
  return `max ${by(job)} (${named.join(' or ')})`;
})();
