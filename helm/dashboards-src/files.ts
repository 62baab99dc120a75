// The dashboards as files of the chart; written and checked by docs/generate.ts.
import { fleetDashboard } from './fleet.js';
import { oneDashboard } from './one.js';

const folder = 'helm/stripe-mongo-sync/dashboards';

/** Paths in the repository with what they should hold. */
export function dashboardFiles(): ReadonlyMap<string, string> {
  const dashboards = { 'stripe-mirror': oneDashboard(), 'stripe-mirrors-fleet': fleetDashboard() };
  return new Map(
    Object.entries(dashboards).map(([name, dashboard]) => [
      `${folder}/${name}.json`,
      `${JSON.stringify(dashboard, null, 2)}\n`,
    ]),
  );
}
