// The dashboards' files: what Grafana would stumble over, and what a reader would miss. What they show is tested against Prometheus.
import { describe, expect, test } from 'vitest';
import { catalog, metricPrefix } from '../../src/metrics/catalog.js';
import { dashboardFiles, type Panel } from '../support/dashboards.js';
import { aggregationsOf, namesIn } from '../support/promql.js';

const dashboards = dashboardFiles();
const targetsOf = (panels: readonly Panel[]) => panels.flatMap(({ targets }) => targets ?? []);

test('there is one of a job and one of a fleet, each with an address of its own', () => {
  expect(dashboards.map(({ uid }) => uid)).toEqual(['stripe-mongo-sync', 'stripe-mongo-sync-fleet']);
});

describe.each(dashboards.map((dashboard) => [dashboard.name, dashboard] as const))(
  '%s',
  (_name, { panels, templating }) => {
    test('has panels with an id, a title and a description each, that do not lie on each other', () => {
      const cells = panels.flatMap(({ id, gridPos: { x, y, w, h } }) =>
        Array.from({ length: w * h }, (_each, index) => ({
          id,
          at: `${x + (index % w)},${y + Math.floor(index / w)}`,
        })),
      );

      expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
      expect(new Set(cells.map(({ at }) => at)).size).toBe(cells.length);
      for (const panel of panels) {
        expect(panel.gridPos.x + panel.gridPos.w).toBeLessThanOrEqual(24);
        expect(panel.title).not.toBe('');
        if (panel.type !== 'row')
          expect(panel, panel.title).toHaveProperty('description', expect.stringMatching(/\.$/));
      }
    });

    test('asks the chosen data source, for the chosen jobs', () => {
      const variables = templating.list.map(({ name }) => name);
      expect(variables.slice(0, 4)).toEqual(['datasource', 'cluster', 'namespace', 'job']);
      for (const { expr } of targetsOf(panels)) {
        const used = [...expr.matchAll(/\$(\w+)/g)].map(([, name = '']) => name);
        expect(used.filter((name) => !name.startsWith('__') && !variables.includes(name))).toEqual([]);
        for (const selector of expr.matchAll(/(?:stripe_sync|process|nodejs)_\w+(.{0,60})/g))
          expect(selector[1]).toMatch(/^\{cluster=~"\$cluster", namespace=~"\$namespace", job=~"\$job"/);
      }
      expect(JSON.stringify(panels)).not.toMatch(/"uid":"(?!\$datasource)/);
    });

    test('takes rates over the interval that fits the scrape', () => {
      for (const { expr } of targetsOf(panels))
        expect(expr).not.toMatch(/\brate\([^[]*\[(?!\$__rate_interval)/);
    });

    test('groups by labels that the metrics have, or the scrape sets', () => {
      const known = new Set([
        ...['cluster', 'namespace', 'job', 'pod', 'le'],
        ...Object.values(catalog).flatMap(({ labels }) => Object.keys(labels)),
      ]);
      for (const { expr } of targetsOf(panels))
        for (const { labels } of aggregationsOf(expr))
          expect(
            labels.filter((label) => !known.has(label)),
            expr,
          ).toEqual([]);
    });
  },
);

test('every metric of the catalog is shown somewhere', () => {
  const shown = new Set(
    dashboards
      .flatMap(({ panels }) => targetsOf(panels).flatMap(({ expr }) => namesIn(expr)))
      .map((name) => name.replace(/_(?:bucket|count)$/, '')),
  );
  const missing = Object.keys(catalog).filter((name) => !shown.has(metricPrefix + name));

  expect(missing).toEqual([]);
});
