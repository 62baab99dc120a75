// The metrics of one process: the catalog's, Node's own, and the text that Prometheus scrapes.
import { collectDefaultMetrics, Registry } from 'prom-client';
import { serviceVersion } from '../base/version.js';
import { RefusedWrites } from '../mongo/refused-writes.js';
import { DatabaseMetrics, type DatabaseMetricsOptions, type ReadDatabase } from './database-metrics.js';
import { createInstruments } from './instruments.js';
import { createObserver, type MetricsObserver } from './observer.js';
import { type Parts, showReadings, stateReadings } from './readings.js';

export interface Metrics {
  /** Satisfies the observers of all parts. */
  readonly observer: MetricsObserver;
  readonly contentType: string;
  /**
   * Everything in Prometheus' text format. Reads from MongoDB at most once in 30 s. A failed read does not
   * reject.
   */
  render(): Promise<string>;
  /** Sets the function that reads the metrics of scope `database`; undefined once MongoDB is closed. */
  readFrom(read: ReadDatabase | undefined): void;
  /** Shows the states of these parts in every scrape from now on. */
  showStatesOf(parts: Parts): void;
}

export interface MetricsOptions extends DatabaseMetricsOptions {
  readonly stripeApiVersion: string;
  /** stripe.monthlyReadAllowance; 0, the default: none. */
  readonly monthlyReadAllowance?: number;
}

// Sums of nodejs_active_handles, _requests and _resources. They are gauges, but Prometheus reserves such
// names for counters.
const misnamedDefaults = ['handles', 'requests', 'resources'].map((kind) => `nodejs_active_${kind}_total`);

/** Makes the metrics of this process. */
export function createMetrics({
  stripeApiVersion,
  monthlyReadAllowance = 0,
  ...options
}: MetricsOptions): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of misnamedDefaults) registry.removeSingleMetric(name);
  const instruments = createInstruments(registry);
  const database = new DatabaseMetrics(instruments, options);
  const refused = new RefusedWrites();
  let parts: Parts | undefined;
  instruments.build_info.set(
    { version: serviceVersion, node: process.versions.node, stripe_api_version: stripeApiVersion },
    1,
  );
  if (monthlyReadAllowance > 0) instruments.stripe_monthly_read_allowance.set(monthlyReadAllowance);
  return {
    observer: createObserver(instruments, refused),
    contentType: registry.contentType,
    async render() {
      await database.refresh();
      showReadings(instruments, stateReadings, parts && { ...parts, refused });
      return registry.metrics();
    },
    readFrom: (read) => database.readFrom(read),
    showStatesOf: (shown) => {
      parts = shown;
    },
  };
}
