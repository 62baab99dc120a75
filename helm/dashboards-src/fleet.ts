// The dashboard of a fleet: a row a job, the worst first.
import type { DynamicConfigValue, Threshold } from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { type ClassicDashboard, frame, numbered, uids } from './frame.js';
import { graph, prometheus, steps, tableQuery } from './panels.js';
import * as q from './queries.js';

interface Column {
  readonly name: string;
  readonly expr: string;
  readonly unit: string;
  readonly thresholds?: Threshold[];
  readonly decimals?: number;
}

const worst = 'Trouble';
const jobLegend = '{{namespace}}/{{job}}';

const columns: readonly Column[] = [
  { name: worst, expr: q.trouble, unit: 'percentunit', thresholds: steps(0.75, 1), decimals: 0 },
  {
    name: 'Age of its limit',
    expr: q.mirrorAgeOfLimit,
    unit: 'percentunit',
    thresholds: steps(0.75, 1),
    decimals: 0,
  },
  { name: 'Last complete', expr: q.mirrorAge, unit: 's' },
  { name: 'Oldest waits', expr: q.oldestWait, unit: 's', thresholds: steps(5, 600) },
  {
    name: 'Failed (1 h)',
    expr: q.countIn('1h', 'requests_total', [], 'status="failed"'),
    unit: 'short',
    thresholds: steps(1, 10),
    decimals: 0,
  },
  { name: 'Removals held', expr: q.shared('removals_held'), unit: 'short', thresholds: steps(null, 1) },
  {
    name: 'Key refused',
    expr: q.highest('stripe_key_refused'),
    unit: 'bool_yes_no',
    thresholds: steps(null, 1),
  },
  {
    name: 'Calls',
    expr: `${q.countIn('5m', 'stripe_calls_total')} / 300`,
    unit: 'reqps',
    decimals: 1,
  },
  { name: 'Scan', expr: q.scanProgress, unit: 'percentunit', decimals: 0 },
  {
    name: 'Customers',
    expr: q.shared('mirror_objects', [], 'object="customer", state="live"'),
    unit: 'locale',
  },
  { name: 'Replicas', expr: `count by (cluster, namespace, job) (${q.ofJobs('build_info')})`, unit: 'short' },
];

const refIdOf = (index: number): string => 'ABCDEFGHIJKLMNOP'.charAt(index);

/** Prometheus' value columns are called `Value #A` after their query. */
const namesByField = Object.fromEntries(
  columns.map(({ name }, index) => [`Value #${refIdOf(index)}`, name] as const),
);

function propertiesOf({ unit, thresholds, decimals }: Column): DynamicConfigValue[] {
  return [
    { id: 'unit', value: unit },
    ...(decimals === undefined ? [] : [{ id: 'decimals', value: decimals }]),
    ...(thresholds
      ? [
          { id: 'thresholds', value: { mode: 'absolute', steps: thresholds } },
          { id: 'custom.cellOptions', value: { type: 'color-background', mode: 'basic' } },
        ]
      : []),
  ];
}

function jobs(): TableBuilder {
  const table = new TableBuilder()
    .title('Jobs, the worst first')
    .description(
      'Trouble is how near the worst of its limits is: 100 % where the mirror is too old, requests have waited ten minutes, 1 % failed in an hour, the allowance is used up, removals are held or the key is refused.',
    )
    .datasource(prometheus)
    .span(24)
    .height(9)
    .targets(columns.map(({ expr }, index) => tableQuery(expr, refIdOf(index))))
    .withTransformation({ id: 'merge', options: {} })
    .withTransformation({
      id: 'organize',
      options: {
        excludeByName: { Time: true },
        indexByName: Object.fromEntries(
          ['cluster', 'namespace', 'job', ...Object.keys(namesByField)].map((name, index) => [name, index]),
        ),
        renameByName: namesByField,
      },
    })
    .withTransformation({ id: 'sortBy', options: { fields: {}, sort: [{ field: worst, desc: true }] } })
    .overrideByName('job', [
      {
        id: 'links',
        value: [
          {
            title: 'Open',
            url: `/d/${uids.one}?var-cluster=\${__data.fields.cluster}&var-namespace=\${__data.fields.namespace}&var-job=\${__data.fields.job}&\${__url_time_range}`,
          },
        ],
      },
    ]);
  for (const column of columns) table.overrideByName(column.name, propertiesOf(column));
  return table;
}

const worstTen = (expr: string): string => `topk(10, ${expr})`;

const graphs = [
  graph({
    title: 'Age of the mirror, of its limit',
    description: 'The ten worst.',
    queries: [{ expr: worstTen(q.mirrorAgeOfLimit), legend: jobLegend }],
    unit: 'percentunit',
    width: 12,
    min: 0,
  }),
  graph({
    title: 'Oldest request that waits',
    description: 'The ten worst.',
    queries: [{ expr: worstTen(q.oldestWait), legend: jobLegend }],
    unit: 's',
    width: 12,
    min: 0,
  }),
  graph({
    title: 'Failed requests a minute',
    description: 'The ten with most of them.',
    queries: [
      {
        expr: worstTen(`60 * ${q.perSecondOfJobs('requests_total', [], 'status="failed"')}`),
        legend: jobLegend,
      },
    ],
    unit: 'short',
    width: 12,
    min: 0,
  }),
  graph({
    title: 'Calls to Stripe',
    description: 'The ten with most of them.',
    queries: [
      {
        expr: worstTen(q.perSecondOfJobs('stripe_calls_total')),
        legend: jobLegend,
      },
    ],
    unit: 'reqps',
    width: 12,
    min: 0,
  }),
];

export function fleetDashboard(): ClassicDashboard {
  const dashboard = frame({
    uid: uids.fleet,
    title: 'Stripe mirrors: fleet',
    description: 'All mirrors that stripe-mongo-sync keeps, the worst first.',
    hasPods: false,
  });
  dashboard.withPanel(jobs());
  for (const panel of graphs) dashboard.withPanel(panel);
  return numbered(dashboard.build());
}
