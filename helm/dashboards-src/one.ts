// The dashboard of one job, or of several beside each other: first whether all is well, then why not.
import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { type ClassicDashboard, frame, numbered, uids } from './frame.js';
import { graph, type Query, stat, steps, stepsUp } from './panels.js';
import * as q from './queries.js';

const named = (name: string): string => `${name} ${q.jobLegend}`;
const percentiles = (
  name: Parameters<typeof q.quantile>[1],
  labels: readonly string[],
  of: string,
): Query[] =>
  [0.5, 0.99].map((quantile) => ({
    expr: q.quantile(quantile, name, labels),
    legend: `p${quantile * 100} ${of}`.trim(),
  }));

const inJob = (name: string): string => `${name} {{job}}`;

const overview = [
  stat({
    title: 'Is the mirror complete?',
    description:
      'Age of the last complete scan, and its share of what it may be: twice the interval of the schedule. Before the first one it counts from when the database was bound to its account.',
    queries: [
      { expr: q.mirrorAgeOfLimit, legend: inJob('of its limit') },
      { expr: q.mirrorAge, legend: inJob('age'), unit: 's' },
    ],
    unit: 'percentunit',
    decimals: 0,
    width: 4,
    thresholds: steps(0.75, 1),
    noValue: 'unknown',
  }),
  stat({
    title: 'Does it keep up?',
    description: 'How long the oldest request that is due has waited. A scan may wait for another scan.',
    queries: [{ expr: q.oldestWait, legend: inJob('oldest waits') }],
    unit: 's',
    width: 4,
    thresholds: steps(5, 600),
    noValue: 'unknown',
  }),
  stat({
    title: 'What failed in the last hour?',
    description:
      'Requests that ended failed or partial, and removals that are held until somebody approves them.',
    queries: [
      { expr: q.countIn('1h', 'requests_total', [], 'status="failed"'), legend: inJob('failed') },
      { expr: q.countIn('1h', 'requests_total', [], 'status="partial"'), legend: inJob('partial') },
      { expr: q.shared('removals_held'), legend: inJob('removals held') },
    ],
    unit: 'short',
    decimals: 0,
    width: 4,
    thresholds: steps(1, 10),
  }),
  stat({
    title: 'Calls to Stripe',
    description: 'Calls a second over all replicas, and the rate that the limiter keeps at present.',
    queries: [
      { expr: q.perSecond('stripe_calls_total'), legend: inJob('now') },
      { expr: q.highest('rate_limiter_calls_per_second'), legend: inJob('limit') },
    ],
    unit: 'reqps',
    decimals: 1,
    width: 4,
  }),
  stat({
    title: 'Calls this month',
    description:
      'Calls of the calendar month (UTC), and their share of stripe.monthlyReadAllowance where there is one. Scans are held once it is used up.',
    queries: [
      { expr: q.allowanceUsed, legend: inJob('of the allowance') },
      { expr: q.shared('stripe_calls_this_month'), legend: inJob('calls'), unit: 'short' },
    ],
    unit: 'percentunit',
    decimals: 0,
    width: 4,
    thresholds: steps(0.8, 1),
  }),
  stat({
    title: 'Scan',
    description:
      'Progress of the scan that runs, and the time it has left at the pace of the last five minutes.',
    queries: [
      { expr: q.scanProgress, legend: inJob('done') },
      { expr: q.scanEta, legend: inJob('left'), unit: 's' },
    ],
    unit: 'percentunit',
    decimals: 0,
    width: 4,
    noValue: 'none runs',
  }),
];

const requests = [
  graph({
    title: 'Requests that ended',
    description: 'By final status.',
    queries: [{ expr: q.perSecond('requests_total', ['status']), legend: named('{{status}}') }],
    unit: 'reqps',
    width: 8,
    isStacked: true,
    min: 0,
  }),
  graph({
    title: 'Why requests failed',
    description: 'Failures by the code of their error (docs/requests.md).',
    queries: [
      {
        expr: `${q.countIn('$__rate_interval', 'request_failures_total', ['code'])} > 0`,
        legend: named('{{code}}'),
      },
    ],
    unit: 'short',
    width: 8,
    isStacked: true,
    min: 0,
    noValue: 'none failed',
  }),
  graph({
    title: 'Waiting and running',
    description: 'Requests in the queue, those with a later runAt included.',
    queries: [
      { expr: q.shared('requests_pending'), legend: named('waiting') },
      { expr: q.shared('requests_running'), legend: named('running') },
    ],
    unit: 'short',
    width: 8,
    min: 0,
  }),
  graph({
    title: 'Time until the claim',
    description: 'From when a request could first have been claimed. A scan may wait for another scan.',
    queries: percentiles('request_wait_seconds', ['lane'], named('{{lane}}')),
    unit: 's',
    width: 8,
    min: 0,
  }),
  graph({
    title: 'Duration of requests',
    description: 'Of the last attempt, 95th percentile by command.',
    queries: [
      { expr: q.quantile(0.95, 'request_duration_seconds', ['command']), legend: named('{{command}}') },
    ],
    unit: 's',
    width: 8,
    min: 0,
  }),
  stat({
    title: 'Claimed within 5 s',
    description: 'Share of the requests that are no scans, over the time shown. Objective: 99.9 %.',
    queries: [{ expr: q.claimedInTimeShare('$__range'), legend: q.jobLegend }],
    unit: 'percentunit',
    decimals: 2,
    width: 4,
    height: 8,
    thresholds: stepsUp(0.999),
    noValue: 'no request',
  }),
  stat({
    title: 'Not failed',
    description:
      'Share of the requests that ran, over the time shown. Those that failed by what they ask for count as served. Objective: 99 %.',
    queries: [{ expr: q.notFailedShare('$__range'), legend: q.jobLegend }],
    unit: 'percentunit',
    decimals: 2,
    width: 4,
    height: 8,
    thresholds: stepsUp(0.99),
    noValue: 'no request',
  }),
];

const stripe = [
  graph({
    title: 'Calls by outcome',
    description: 'Every attempt counted.',
    queries: [
      {
        expr: `${q.perSecond('stripe_calls_total', ['outcome'])} > 0`,
        legend: named('{{outcome}}'),
      },
    ],
    unit: 'reqps',
    width: 8,
    isStacked: true,
    min: 0,
  }),
  graph({
    title: 'Calls by endpoint, and the limits',
    description:
      'The limit in force sinks when Stripe answers 429 and recovers slowly; all replicas share it.',
    queries: [
      { expr: q.perSecond('stripe_calls_total', ['endpoint']), legend: named('{{endpoint}}') },
      { expr: q.highest('rate_limiter_calls_per_second'), legend: named('limit in force') },
      { expr: q.highest('rate_limiter_max_calls_per_second'), legend: named('limit by the settings') },
    ],
    unit: 'reqps',
    width: 8,
    min: 0,
  }),
  graph({
    title: 'Answers 429',
    description: 'By the reason that Stripe gave.',
    queries: [{ expr: q.perSecond('stripe_rate_limited_total', ['reason']), legend: named('{{reason}}') }],
    unit: 'reqps',
    width: 8,
    isStacked: true,
    min: 0,
  }),
  graph({
    title: 'Duration of calls',
    description: 'Of one attempt, from letting it go to its end.',
    queries: percentiles('stripe_call_duration_seconds', ['endpoint'], named('{{endpoint}}')),
    unit: 's',
    width: 8,
    min: 0,
  }),
  graph({
    title: 'Wait for the limiter',
    description: 'Time until a call was let go: for the rate and for a place in flight.',
    queries: percentiles('rate_limiter_wait_seconds', [], q.jobLegend),
    unit: 's',
    width: 8,
    min: 0,
  }),
  graph({
    title: 'Key refused',
    description: '1 while Stripe refuses the key in use, or a new key that was found cannot be used.',
    queries: [{ expr: q.highest('stripe_key_refused', ['reason']), legend: named('{{reason}}') }],
    unit: 'short',
    width: 8,
    min: 0,
    max: 1,
    decimals: 0,
  }),
];

const writes = [
  graph({
    title: 'Objects by outcome',
    description: 'What requests and scans found and did, a second.',
    queries: [{ expr: q.perSecond('objects_total', ['outcome']), legend: named('{{outcome}}') }],
    unit: 'ops',
    width: 6,
    isStacked: true,
    min: 0,
  }),
  graph({
    title: 'Mirror',
    description: 'Objects in the mirror, live and marked as deleted.',
    queries: [
      { expr: q.shared('mirror_objects', ['object', 'state']), legend: named('{{object}} {{state}}') },
    ],
    unit: 'short',
    width: 6,
    min: 0,
  }),
  graph({
    title: 'Duration of bulk writes',
    description: 'Until the majority had acknowledged.',
    queries: percentiles('mongodb_write_duration_seconds', [], q.jobLegend),
    unit: 's',
    width: 6,
    min: 0,
  }),
  graph({
    title: 'Slots of the schedule',
    description: 'What became of them; lost: another replica took it.',
    queries: [
      {
        expr: q.countIn('$__rate_interval', 'schedule_slots_total', ['outcome']),
        legend: named('{{outcome}}'),
      },
    ],
    unit: 'short',
    width: 6,
    min: 0,
  }),
];

const process = [
  graph({
    title: 'Memory',
    description: 'Resident, by pod.',
    queries: [{ expr: q.ofProcess('process_resident_memory_bytes'), legend: '{{pod}}' }],
    unit: 'bytes',
    width: 6,
    min: 0,
  }),
  graph({
    title: 'CPU',
    description: 'Cores in use, by pod.',
    queries: [
      { expr: `rate(${q.ofProcess('process_cpu_seconds_total')}[$__rate_interval])`, legend: '{{pod}}' },
    ],
    unit: 'short',
    width: 6,
    min: 0,
  }),
  graph({
    title: 'Event loop lag',
    description: '99th percentile, by pod.',
    queries: [{ expr: q.ofProcess('nodejs_eventloop_lag_p99_seconds'), legend: '{{pod}}' }],
    unit: 's',
    width: 6,
    min: 0,
  }),
  graph({
    title: 'Last turn of the poll loop',
    description: 'How long ago, by pod. Liveness fails after 30 s.',
    queries: [{ expr: `time() - ${q.ofPods('last_poll_timestamp_seconds')}`, legend: '{{pod}}' }],
    unit: 's',
    width: 6,
    min: 0,
  }),
  stat({
    title: 'Replicas',
    description: 'By version of this program, of Node and of the Stripe API.',
    queries: [
      {
        expr: `count by (cluster, namespace, job, version, node, stripe_api_version) (${q.ofJobs('build_info')})`,
        legend: `${q.jobLegend} {{version}}, Node {{node}}, Stripe {{stripe_api_version}}`,
      },
    ],
    unit: 'short',
    width: 24,
    height: 4,
  }),
];

export function oneDashboard(): ClassicDashboard {
  const dashboard = frame({
    uid: uids.one,
    title: 'Stripe mirror',
    description: 'Customers of a Stripe account in MongoDB, kept by stripe-mongo-sync.',
    hasPods: true,
  });
  for (const panel of overview) dashboard.withPanel(panel);
  for (const [title, panels] of Object.entries({
    Requests: requests,
    Stripe: stripe,
    Writes: writes,
    Process: process,
  })) {
    dashboard.withRow(new RowBuilder(title));
    for (const panel of panels) dashboard.withPanel(panel);
  }
  return numbered(dashboard.build());
}
