// What both dashboards have around their panels: names, variables, links. They are made for the classic schema, which every Grafana reads
// that is in use today; its successor needs Grafana 12.
/* eslint-disable @typescript-eslint/no-deprecated -- the classic schema, see above */
import {
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { metricPrefix } from '../../src/metrics/catalog.js';
import { prometheus } from './panels.js';

export type ClassicDashboard = Dashboard;

export const uids = { one: 'stripe-mongo-sync', fleet: 'stripe-mongo-sync-fleet' } as const;

const tag = 'stripe-mongo-sync';
const buildInfo = `${metricPrefix}build_info`;

/** All values by default; `.*` for all, as a label that the scrape does not set must match too. */
function labelVariable(name: string, narrowedBy: string): QueryVariableBuilder {
  const query = `label_values(${buildInfo}${narrowedBy}, ${name})`;
  return new QueryVariableBuilder(name)
    .label(name)
    .datasource(prometheus)
    .query({ query, refId: name })
    .definition(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue('.*')
    .current({ selected: true, text: ['All'], value: ['$__all'] });
}

export interface FrameOptions {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly hasPods: boolean;
}

export function frame({ uid, title, description, hasPods }: FrameOptions): DashboardBuilder {
  const dashboard = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags([tag])
    .timezone('browser')
    .readonly()
    .tooltip(DashboardCursorSync.Crosshair)
    .time({ from: 'now-6h', to: 'now' })
    .refresh('30s')
    .link(
      new DashboardLinkBuilder('stripe-mongo-sync')
        .type(DashboardLinkType.Dashboards)
        .tags([tag])
        .includeVars(true)
        .keepTime(true)
        .asDropdown(false),
    )
    .withVariable(new DatasourceVariableBuilder('datasource').label('data source').type('prometheus'))
    .withVariable(labelVariable('cluster', ''))
    .withVariable(labelVariable('namespace', '{cluster=~"$cluster"}'))
    .withVariable(labelVariable('job', '{cluster=~"$cluster", namespace=~"$namespace"}'));
  if (hasPods)
    dashboard.withVariable(
      labelVariable('pod', '{cluster=~"$cluster", namespace=~"$namespace", job=~"$job"}'),
    );
  return dashboard;
}

/** The dashboard with ids of its panels, which the builder leaves out. */
export function numbered(dashboard: ClassicDashboard): ClassicDashboard {
  const panels = (dashboard.panels ?? []).map((panel, index) => ({ ...panel, id: index + 1 }));
  return { ...dashboard, panels };
}
