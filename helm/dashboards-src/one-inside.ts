// Rows of the dashboard of one job: what is written, and how the processes are.
import { jobLegend, named, percentiles } from './one-legends.js';
import { blue, graph, green, grey, purple, red, stat, yellow } from './panels.js';
import * as q from './queries.js';

export const writes = [
  graph({
    title: 'Objects by outcome',
    description: 'What requests and scans found and did, a second, and what Stripe listed out of order.',
    queries: [
      { expr: q.perSecond('objects_total', ['outcome']), legend: named('{{outcome}}') },
      { expr: q.perSecond('scan_disordered_objects_total'), legend: named('out of order') },
    ],
    colors: {
      created: green,
      updated: blue,
      unchanged: grey,
      deleted: purple,
      stale: yellow,
      failed: red,
    },
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
    queries: percentiles('mongodb_write_duration_seconds', [], jobLegend),
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

export const process = [
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
        legend: `${jobLegend} {{version}}, Node {{node}}, Stripe {{stripe_api_version}}`,
      },
    ],
    unit: 'short',
    width: 18,
    height: 3,
  }),
  stat({
    title: "Moves of MongoDB's clock",
    description:
      'By 100 ms or more in the last day, as the replicas noticed them: NTP, a failover, a suspended machine.',
    queries: [
      {
        expr: q.countIn('1d', 'mongodb_clock_moves_total', ['direction']),
        legend: `${jobLegend} {{direction}}`,
      },
      {
        expr: q.countIn('1d', 'stored_times_ahead_of_clock_total', []),
        legend: `${jobLegend} times ahead of it`,
      },
    ],
    unit: 'short',
    width: 6,
    height: 3,
  }),
];
