// prom-client's counters, gauges and histograms for the catalog, on a registry of their own: nothing is
// registered globally.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { metricPrefix, metricSpecs, type Catalog, type MetricName, type MetricSpec } from './catalog.js';

export type LabelName<N extends MetricName> = keyof Catalog[N]['labels'] & string;

interface InstrumentOf<L extends string> {
  readonly counter: Counter<L>;
  readonly gauge: Gauge<L>;
  readonly histogram: Histogram<L>;
}

/** One instrument for each metric of the catalog, under its name without the prefix. */
export type Instruments = { readonly [N in MetricName]: InstrumentOf<LabelName<N>>[Catalog[N]['type']] };

/** Series of closed labels exist from the start, at 0: a rate needs the sample before the first event. */
export function createInstruments(registry: Registry): Instruments {
  const instruments = metricSpecs.map(
    ([name, spec]) => [name, createInstrument(name, spec, registry)] as const,
  );
  return Object.fromEntries(instruments) as unknown as Instruments; // the type is made of the same catalog
}

function createInstrument(
  name: MetricName,
  spec: MetricSpec,
  registry: Registry,
): Counter | Gauge | Histogram {
  const options = {
    name: metricPrefix + name,
    help: spec.help,
    labelNames: Object.keys(spec.labels),
    registers: [registry],
  };
  switch (spec.type) {
    case 'counter': {
      const counter = new Counter(options);
      for (const labels of closedSeries(spec)) counter.inc(labels, 0);
      return counter;
    }
    case 'gauge': {
      const gauge = new Gauge(options);
      // prom-client starts a gauge at 0, which would look like a real value. It must be absent until the
      // value is known.
      if (options.labelNames.length === 0) gauge.remove();
      return gauge;
    }
    case 'histogram': {
      const histogram = new Histogram({ ...options, buckets: [...spec.buckets] });
      for (const labels of closedSeries(spec)) histogram.zero(labels);
      return histogram;
    }
  }
}

/** Every combination of the labels' values; none where one of the lists is open. */
function closedSeries({ labels }: MetricSpec): Record<string, string>[] {
  return Object.entries(labels).reduce<Record<string, string>[]>(
    (series, [label, values]) =>
      'from' in values ? [] : series.flatMap((one) => values.map((value) => ({ ...one, [label]: value }))),
    [{}],
  );
}
