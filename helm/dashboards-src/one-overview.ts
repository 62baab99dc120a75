// The first row of the dashboard of one job: whether all is well.
import { stat, steps } from './panels.js';
import * as q from './queries.js';

/** Repeated for each job, whose name is its title. */
export const overview = [
  stat({
    title: 'Is the mirror complete?',
    description:
      'Age of the last complete scan, and its share of what it may be: twice the interval of the schedule. Before the first one it counts from when the database was bound to its account.',
    queries: [
      { expr: q.mirrorAgeOfLimit, legend: 'of its limit' },
      { expr: q.mirrorAge, legend: 'age', unit: 's' },
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
    queries: [{ expr: q.oldestWait, legend: 'oldest waits' }],
    unit: 's',
    width: 4,
    thresholds: steps(5, 600),
    noValue: 'unknown',
  }),
  stat({
    title: 'What failed in the last hour?',
    description:
      'Requests that ended failed or partial, removals that are held until somebody approves them, and customers that the last scan left out.',
    queries: [
      { expr: q.countIn('1h', 'requests_total', [], 'status="failed"'), legend: 'failed' },
      { expr: q.countIn('1h', 'requests_total', [], 'status="partial"'), legend: 'partial' },
      { expr: q.shared('removals_held'), legend: 'removals held' },
      { expr: q.shared('scan_left_out'), legend: 'left out' },
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
      { expr: q.perSecond('stripe_calls_total'), legend: 'now' },
      { expr: q.highest('rate_limiter_calls_per_second'), legend: 'limit', unit: 'reqps' },
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
      { expr: q.allowanceUsed, legend: 'of the allowance' },
      { expr: q.shared('stripe_calls_this_month'), legend: 'calls', unit: 'locale' },
    ],
    unit: 'percentunit',
    decimals: 0,
    width: 4,
    thresholds: steps(0.8, 1),
  }),
  stat({
    title: 'Scan',
    description: 'Progress of the scan that runs, and the time it has left at its latest pace.',
    queries: [
      { expr: q.scanProgress, legend: 'done' },
      { expr: q.scanEta, legend: 'left', unit: 's' },
    ],
    unit: 'percentunit',
    decimals: 0,
    width: 4,
    noValue: 'none runs',
  }),
];
