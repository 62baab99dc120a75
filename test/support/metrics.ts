// What a scrape shows: Prometheus' text format, parsed (https://prometheus.io/docs/instrumenting/exposition_formats/).
import { metricPrefix } from '../../src/metrics/catalog.js';
import { createMetrics, type Metrics } from '../../src/metrics/metrics.js';

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  help: string;
  type: string;
  samples: Sample[];
}

export const parseNumber = (text: string): number =>
  text === '+Inf' ? Infinity : text === 'Nan' ? NaN : Number(text);

/** Parses the text format line by line; throws on a line that is neither a comment nor a sample. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  let family: Family = { help: '', type: '', samples: [] };
  for (const line of text.split('\n').filter((candidate) => candidate !== '')) {
    const [, help, helpText] = /^# HELP (\S+) (.+)$/.exec(line) ?? [];
    const [, typed, type] = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(line) ?? [];
    const [, name, labels = '', value] =
      /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\+Inf|Nan|-?[\d.]+(?:e[+-]?\d+)?)$/.exec(line) ?? [];
    if (help !== undefined && helpText !== undefined) {
      if (families.has(help)) throw new Error(`${help} twice`);
      family = { help: helpText, type: '', samples: [] };
      families.set(help, family);
    } else if (typed !== undefined && type !== undefined) family.type = type;
    else if (name !== undefined && value !== undefined) {
      const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', text = '']) => [
        label,
        text,
      ]);
      family.samples.push({
        name,
        labels: Object.fromEntries(pairs) as Record<string, string>,
        value: parseNumber(value),
      });
    } else throw new Error(`Not a line of the format: ${line}`);
  }
  return families;
}

export const metricsOf = (options: object = {}): Metrics =>
  createMetrics({ stripeApiVersion: '2026-10-28.endive', ...options });
export const scrape = async (metrics: Metrics): Promise<Map<string, Family>> => parse(await metrics.render());

export async function samplesOf(metrics: Metrics, name: string): Promise<readonly Sample[]> {
  return (await scrape(metrics)).get(metricPrefix + name)?.samples ?? [];
}

export async function valueOf(
  metrics: Metrics,
  name: string,
  labels: Record<string, string> = {},
): Promise<number | undefined> {
  const samples = [...(await scrape(metrics)).values()].flatMap((family) => family.samples);
  return samples.find(
    (sample) =>
      sample.name === metricPrefix + name &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  )?.value;
}
