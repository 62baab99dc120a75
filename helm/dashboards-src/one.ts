// The dashboard of one job, or of several: first a row for each that says whether all is well, then why not, all beside each other.
import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { type ClassicDashboard, frame, numbered, uids } from './frame.js';
import { process, writes } from './one-inside.js';
import { overview } from './one-overview.js';
import { requests, stripe } from './one-traffic.js';

export function oneDashboard(): ClassicDashboard {
  const dashboard = frame({
    uid: uids.one,
    title: 'Stripe mirror',
    description: 'Customers of a Stripe account in MongoDB, kept by stripe-mongo-sync.',
    hasPods: true,
  });
  dashboard.withRow(new RowBuilder('$job').repeat('job'));
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
