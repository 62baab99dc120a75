// Rows of the dashboard of one job: what comes in, and what goes to Stripe.
import { jobLegend, named, percentiles } from './one-legends.js';
import { blue, graph, green, grey, orange, purple, red, stat, stepsUp, yellow } from './panels.js';
import * as q from './queries.js';

export const requests = [
  graph({
    title: 'Requests that ended',
    description: 'By final status.',
    queries: [{ expr: q.perSecond('requests_total', ['status']), legend: named('{{status}}') }],
    colors: { succeeded: green, partial: yellow, failed: red, cancelled: grey, coalesced: blue },
    unit: 'reqps',
    width: 8,
    isStacked: true,
    min: 0,
  }),
  graph({
    title: 'Failed requests a minute',
    description: 'By the code of their error (docs/requests.md).',
    queries: [
      {
        expr: `60 * ${q.perSecondOfJobs('request_failures_total', ['code'])} > 0`,
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
    queries: [{ expr: q.claimedInTimeShare('$__range'), legend: jobLegend }],
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
    queries: [{ expr: q.notFailedShare('$__range'), legend: jobLegend }],
    unit: 'percentunit',
    decimals: 2,
    width: 4,
    height: 8,
    thresholds: stepsUp(0.99),
    noValue: 'no request',
  }),
];

export const stripe = [
  graph({
    title: 'Calls by outcome',
    description: 'Every attempt counted.',
    queries: [
      {
        expr: `${q.perSecond('stripe_calls_total', ['outcome'])} > 0`,
        legend: named('{{outcome}}'),
      },
    ],
    colors: {
      succeeded: green,
      not_found: blue,
      rate_limited: yellow,
      server_error: red,
      connection_failed: orange,
      timeout: purple,
    },
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
    colors: { 'limit in force': orange, 'limit by the settings': red },
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
    queries: percentiles('rate_limiter_wait_seconds', [], jobLegend),
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
  graph({
    title: 'Writes refused',
    description:
      '1 while MongoDB refuses what is written, for a missing right, a view, a block of writes or a full disk.',
    queries: [{ expr: q.highest('mongodb_refuses_writes', ['part']), legend: named('{{part}}') }],
    unit: 'short',
    width: 8,
    min: 0,
    max: 1,
    decimals: 0,
  }),
];
