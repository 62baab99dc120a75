// The dashboards and rules on a real Prometheus that scraped real daemons while they worked, under faults too: no query is refused, no panel
// is empty. With DASHBOARD_PICTURE, a folder, the dashboards are drawn from what Prometheus answered.
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { catalog } from '../../src/metrics/catalog.js';
import { type DashboardFile, dashboardFiles, type Panel } from '../support/dashboards.js';
import { askPanel, type Choice, hasData, tableOf, type TargetData, valuesOf } from '../support/grafana.js';
import { findPrometheus } from '../support/prometheus.js';
import { alertRules, recordingRules } from '../support/rules.js';
import { drawDashboard } from './draw.js';
import { euJob, pods, usJob } from './mirrors.js';
import { type Watched, workUnderWatch } from './work.js';

const binary = findPrometheus();
if (binary === undefined) {
  // On a line of its own: vitest colours the first one, and .ci/run looks for what begins like this.
  console.log('\nSKIPPED: THE DASHBOARDS WERE NOT TRIED ON A PROMETHEUS, AS THERE IS NONE ON THE PATH');
}
const pictures = process.env['DASHBOARD_PICTURE'];
const dashboards = dashboardFiles();
const [one, fleet] = dashboards as [DashboardFile, DashboardFile]; // the contract tests say so

const jobs = [euJob, usJob];
const choices: Readonly<Record<string, Choice>> = {
  'all jobs': {},
  'both jobs by name': { job: jobs },
  ...Object.fromEntries(jobs.map((job) => [job, { job: [job] }])),
};
const choicesOfPods: Readonly<Record<string, Choice>> = Object.fromEntries(
  Object.entries(pods).flatMap(([job, names]) =>
    names.map((pod) => [pod, { cluster: ['production'], namespace: ['payments'], job: [job], pod: [pod] }]),
  ),
);

describe.skipIf(binary === undefined)('Prometheus that has scraped two mirrors at work', () => {
  let watched: Watched;

  beforeAll(async () => {
    watched = await workUnderWatch(binary!);
  }, 290_000);

  const ask = (dashboard: DashboardFile, panel: Panel, choice: Choice): Promise<TargetData[]> =>
    askPanel(watched.prometheus, dashboard, panel, choice, watched.shown);

  describe.each(dashboards.map((dashboard) => [dashboard.name, dashboard] as const))(
    'has for %s',
    (_name, dashboard) => {
      const hasPods = dashboard.templating.list.some(({ name }) => name === 'pod');
      const chosen = Object.entries({ ...choices, ...(hasPods && choicesOfPods) });
      const filled = dashboard.panels.filter(({ type }) => type !== 'row');

      test.each(filled.map((panel) => [panel.title, panel] as const))(
        'data of every query of "%s"',
        async (_title, panel) => {
          expect(panel.targets?.length).toBeGreaterThan(0);
          for (const [name, choice] of chosen) {
            const data = await ask(dashboard, panel, choice);
            const empty = data.filter((target) => !hasData(target)).map(({ expr }) => expr);

            expect(empty, name).toEqual([]);
          }
        },
      );

      test('a choice for every variable', async () => {
        const variables = dashboard.templating.list.filter(({ type }) => type === 'query');
        const values = Object.fromEntries(
          await Promise.all(
            variables.map(async ({ name }) => [
              name,
              await valuesOf(watched.prometheus, dashboard, name, {}, watched.shown),
            ]),
          ),
        ) as Record<string, string[]>;

        expect(values).toEqual({
          cluster: ['production'],
          namespace: ['payments'],
          job: jobs,
          ...(hasPods && { pod: Object.values(pods).flat().sort() }),
        });
      });
    },
  );

  test('fills a row for every job in the table of the fleet, the worst first', async () => {
    const panel = fleet.panels.find(({ type }) => type === 'table')!;
    const { columns, rows } = tableOf(panel, await ask(fleet, panel, {}));
    const column = (name: string) => rows.map((row) => row[columns.indexOf(name)]);

    expect(column('job')).toEqual(expect.arrayContaining(jobs));
    expect(rows).toHaveLength(jobs.length);
    expect(rows.flat().filter((cell) => cell === undefined || Number.isNaN(cell))).toEqual([]);
    expect(column('Trouble')).toEqual([...column('Trouble')].sort((a, b) => Number(b) - Number(a)));
    expect(Object.fromEntries(rows.map((row) => [row[2], row[columns.indexOf('Replicas')]]))).toEqual({
      [euJob]: 2,
      [usJob]: 1,
    });
  });

  test('shows each reason of 429, the faults of calls, and why requests failed', async () => {
    const seen = async (title: string, label: string): Promise<string[]> => {
      const panel = one.panels.find((each) => each.title === title)!;
      const series = (await ask(one, panel, {})).flatMap((target) => target.series);
      const above = series.filter(({ points }) => points.some(([, value]) => value > 0));
      return [...new Set(above.map(({ metric }) => metric[label] ?? ''))];
    };

    expect((await seen('Answers 429', 'reason')).sort()).toEqual(
      [...catalog.stripe_rate_limited_total.labels.reason].sort(),
    );
    expect(await seen('Calls by endpoint, and the limits', 'endpoint')).toEqual(
      expect.arrayContaining(['GET /v1/customers', 'GET /v1/customers/{id}']),
    );
    expect(await seen('Calls by outcome', 'outcome')).toEqual(
      expect.arrayContaining([
        ...['succeeded', 'not_found', 'rate_limited', 'rejected'],
        ...['server_error', 'timeout', 'connection_failed', 'invalid_response'],
      ]),
    );
    expect(await seen('Failed requests a minute', 'code')).toEqual(
      expect.arrayContaining(['invalid_request', 'not_in_account', 'wrong_mode', 'stripe_rejected']),
    );
    expect(await seen('Requests that ended', 'status')).toEqual(
      expect.arrayContaining(['succeeded', 'partial', 'failed', 'cancelled']),
    );
    expect(await seen('Key refused', 'reason')).toEqual(['new_key_account_mismatch']);
  });

  test('evaluates every rule without a fault', async () => {
    const rules = await watched.prometheus.rules();

    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
    expect(rules.map(({ name }) => name).sort()).toEqual(
      [...alertRules().map(({ alert }) => alert), ...recordingRules().map(({ record }) => record)].sort(),
    );
  });

  test.each(recordingRules().map(({ record }) => record))('has recorded %s', async (record) => {
    const { from, to } = watched.shown;
    const series = await watched.prometheus.queryRange(record, { start: from, end: to, step: 1 });

    expect(series.some(({ points }) => points.some(([, value]) => !Number.isNaN(value)))).toBe(true);
  });

  test('has an alert of what is wrong where it is wrong', async () => {
    const alerts = await watched.prometheus.query('ALERTS', watched.shown.to);
    const of = (name: string): (string | undefined)[] =>
      alerts.filter(({ metric }) => metric['alertname'] === name).map(({ metric }) => metric['job']);

    expect(of('StripeSyncRemovalsHeld')).toEqual([euJob]);
    expect(of('StripeSyncAccountMismatch')).toEqual([usJob]);
    for (const name of ['StripeSyncAbsent', 'StripeSyncDatabaseUnreadable', 'StripeSyncPollStalled'])
      expect(of(name), name).toEqual([]);
  });

  if (pictures !== undefined) {
    test('can be drawn', async () => {
      await mkdir(pictures, { recursive: true });
      for (const [dashboard, choice] of [
        [one, { job: [euJob] }],
        [fleet, {}],
      ] as const) {
        const data = await Promise.all(dashboard.panels.map((panel) => ask(dashboard, panel, choice)));
        const file = join(pictures, `${dashboard.name}.png`);
        await drawDashboard(dashboard, data, choice, watched.shown, file);

        expect((await stat(file)).size).toBeLessThan(300_000);
      }
    }, 120_000);
  }
});
