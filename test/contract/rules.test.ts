// Recording rules and alerts against the catalog, the runbooks and promtool's test cases. What they do is tested by promtool (.ci/rules).
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { catalog, metricPrefix, metricSpecs } from '../../src/metrics/catalog.js';
import { dashboardFiles } from '../support/dashboards.js';
import { aggregationsOf, namesIn } from '../support/promql.js';
import { alertRules, recordingRules } from '../support/rules.js';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const recording = recordingRules();
const alerts = alertRules();

const namesOfScope = (scope: string): string[] =>
  metricSpecs.filter(([, spec]) => spec.scope === scope).map(([name]) => metricPrefix + name);
const database = namesOfScope('database');
/** Gauges of a process that every replica tells alike: a sum over replicas would be a lie too. */
const alike = metricSpecs
  .filter(([name, { type, scope }]) => type === 'gauge' && scope === 'process' && name !== 'build_info')
  .map(([name]) => metricPrefix + name);

describe('aggregations', () => {
  const expressions = [
    ...recording.map(({ record, expr }) => [record, expr] as const),
    ...alerts.map(({ alert, expr }) => [alert, expr] as const),
    ...dashboardFiles().flatMap(({ name, panels }) =>
      panels.flatMap(({ title, targets }) =>
        (targets ?? []).map(({ expr }) => [`${name}: ${title}`, expr] as const),
      ),
    ),
  ];

  const added = (expr: string): string[] =>
    aggregationsOf(expr)
      .filter(({ operator }) => ['sum', 'avg', 'count'].includes(operator))
      .flatMap(({ argument }) => namesIn(argument))
      .filter((name) => database.includes(name) || alike.includes(name));

  test('never add up what every replica tells alike', () => {
    expect(expressions.flatMap(([where, expr]) => added(expr).map((name) => `${where}: ${name}`))).toEqual(
      [],
    );
    // The test itself must see it, however deep.
    expect(added('1 + sum by (job) (max(stripe_sync_requests_pending{job="a)"}))')).toEqual([
      'stripe_sync_requests_pending',
    ]);
  });

  test('of recording rules keep cluster, namespace and job, and no pod', () => {
    for (const { record, expr } of recording) {
      for (const { labels } of aggregationsOf(expr)) {
        expect(labels.slice(0, 3), record).toEqual(['cluster', 'namespace', 'job']);
        expect(labels, record).not.toContain('pod');
      }
    }
  });

  test('record each metric of the database once, the oldest by min', () => {
    for (const name of database) {
      const [rule, ...others] = recording.filter(
        ({ expr }) => namesIn(expr).includes(name) && /^(?:min|max) by/.test(expr),
      );
      const isOldest = /oldest|bound/.test(name);
      expect(others, name).toEqual([]);
      expect(rule?.record, name).toMatch(new RegExp(`:${name}:${isOldest ? 'min' : 'max'}$`));
    }
  });
});

describe('names', () => {
  const recorded = recording.map(({ record }) => record);
  const exposed = metricSpecs.flatMap(([name, { type }]) =>
    ['', ...(type === 'histogram' ? ['_bucket', '_sum', '_count'] : [])].map(
      (suffix) => metricPrefix + name + suffix,
    ),
  );
  const files = [
    'README.md',
    'CONTRIBUTING.md',
    ...['docs', 'docs/runbooks'].flatMap((folder) =>
      readdirSync(new URL(folder, root))
        .filter((name) => name.endsWith('.md'))
        .map((name) => `${folder}/${name}`),
    ),
    'helm/stripe-mongo-sync/rules/recording.yaml',
    'helm/stripe-mongo-sync/rules/alerts.yaml',
    ...dashboardFiles().map(({ name }) => `helm/stripe-mongo-sync/dashboards/${name}.json`),
  ];

  test.each(files)('in %s are of the catalog, or recorded', (file) => {
    const unknown = namesIn(read(file)).filter((name) => !exposed.includes(name) && !recorded.includes(name));

    expect(unknown).toEqual([]);
  });

  test('that are recorded are used by rules and their tests as they are', () => {
    const used = [...alerts, ...recording]
      .flatMap(({ expr }) => namesIn(expr))
      .filter((name) => name.includes(':'));

    expect(used.filter((name) => !recorded.includes(name))).toEqual([]);
    expect(new Set(recorded).size).toBe(recorded.length);
  });

  test('of error codes that are the request’s own are the same in rules and dashboards, and of the catalog', () => {
    const listed = [...read('helm/stripe-mongo-sync/rules/recording.yaml').matchAll(/code!~"([^"]+)"/g)];
    const shown = dashboardFiles().flatMap(({ panels }) =>
      panels.flatMap(({ targets }) =>
        (targets ?? []).flatMap(({ expr }) => [...expr.matchAll(/code!~"([^"]+)"/g)]),
      ),
    );
    const lists = new Set([...listed, ...shown].map(([, codes]) => codes));

    expect(lists.size).toBe(1);
    expect(listed.length).toBeGreaterThan(0);
    expect(shown.length).toBeGreaterThan(0);
    const known: readonly string[] = catalog.request_failures_total.labels.code;
    for (const code of [...lists].join().split('|')) expect(known).toContain(code);
  });
});

describe('alerts', () => {
  const runbooks = readdirSync(new URL('docs/runbooks', root)).filter((name) => name !== 'README.md');
  const cases = readdirSync(new URL('test/rules', root))
    .map((name) => read(`test/rules/${name}`))
    .join('\n');

  test.each(alerts.map(({ alert, ...rule }) => [alert, rule] as const))(
    '%s says how bad it is and has a runbook page that names it',
    (alert, { labels, annotations }) => {
      const path = annotations['runbook'] ?? '';

      expect(['page', 'ticket']).toContain(labels['severity']);
      expect(Object.keys(annotations).sort()).toEqual(['description', 'runbook', 'summary']);
      expect(existsSync(new URL(path, root)), path).toBe(true);
      expect(read(path)).toContain(`\`${alert}\``);
      for (const heading of ['## What it means', '## How to look', '## What to do'])
        expect(read(path)).toContain(heading);
      expect(read('docs/runbooks/README.md')).toContain(`\`${alert}\``);
    },
  );

  test('have a page each, and no page is of none', () => {
    const named = new Set(alerts.map(({ annotations }) => annotations['runbook']));

    expect(runbooks.map((name) => `docs/runbooks/${name}`).filter((path) => !named.has(path))).toEqual([]);
  });

  test.each([...new Set(alerts.map(({ alert }) => alert))])(
    '%s is tested for firing and for staying silent',
    (alert) => {
      const results = [
        ...cases.matchAll(new RegExp(`alertname="${alert}".*\\n.*\\n\\s*exp_samples:(.*)`, 'g')),
      ];

      expect(results.some(([, rest]) => rest?.trim() === '[]')).toBe(true);
      expect(results.some(([, rest]) => rest?.trim() === '')).toBe(true);
    },
  );

  test('name commands in their runbooks that there are', () => {
    const commands = runbooks.flatMap((name) =>
      [...read(`docs/runbooks/${name}`).matchAll(/stripe-mongo-sync ((?:requests )?[a-z][a-z-]+)/g)].map(
        ([, command = '']) => command,
      ),
    );

    expect(commands.length).toBeGreaterThan(20);
    const help = read('test/contract/surface/command-line.txt');
    const missing = commands.filter((command) => !help.includes(`=== stripe-mongo-sync ${command} --help`));
    expect([...new Set(missing)]).toEqual([]);
  });
});
