// What Grafana does with a panel before it draws it: puts the chosen values into its queries, asks Prometheus, names the series, and
// makes a table's rows of them.
import type { DashboardFile, Panel, Target } from './dashboards.js';
import { type Labels, type Point, type Prometheus, scrapeSeconds } from './prometheus.js';

/** Values that a person has chosen, by variable; those that are not named are left at `All`. */
export type Choice = Readonly<Record<string, readonly string[]>>;

/** The time that a dashboard shows, in unix seconds. */
export interface Shown {
  readonly from: number;
  readonly to: number;
}

export interface NamedSeries {
  readonly name: string;
  readonly metric: Labels;
  readonly points: readonly Point[];
}

export interface TargetData {
  readonly refId: string;
  /** As it was asked. */
  readonly expr: string;
  readonly series: readonly NamedSeries[];
}

/** Points of a graph at most; Grafana takes as many as the panel has pixels. */
const mostPoints = 400;

/** Time between two points of a graph, in whole seconds. */
export const stepOf = ({ from, to }: Shown): number =>
  Math.max(scrapeSeconds, Math.ceil((to - from) / mostPoints));

/** What the queries of a panel find. Rejects where Prometheus refuses or warns. */
export async function askPanel(
  prometheus: Prometheus,
  { templating }: DashboardFile,
  { targets = [] }: Panel,
  choice: Choice,
  shown: Shown,
): Promise<TargetData[]> {
  const variables = templating.list.map(({ name }) => name);
  const step = stepOf(shown);
  return Promise.all(
    targets.map(async (target) => {
      const expr = interpolated(target.expr, variables, choice, shown);
      const found = target.instant
        ? await prometheus.query(expr, shown.to)
        : await prometheus.queryRange(expr, { start: shown.from, end: shown.to, step });
      return {
        refId: target.refId,
        expr,
        series: found.map((series) => ({ ...series, name: nameOf(target, series.metric) })),
      };
    }),
  );
}

/** What a query of a variable offers, such as `label_values(metric{…}, job)`. */
export async function valuesOf(
  prometheus: Prometheus,
  { templating }: DashboardFile,
  name: string,
  choice: Choice,
  shown: Shown,
): Promise<readonly string[]> {
  const variables = templating.list.map((variable) => variable.name);
  const { query } = templating.list.find((variable) => variable.name === name)?.query as { query: string };
  const [, match = '', label = ''] =
    /^label_values\((.+), (\w+)\)$/.exec(interpolated(query, variables, choice, shown)) ?? [];
  return prometheus.labelValues(label, match);
}

/**
 * The expression with values in the place of variables. Throws for a variable that there is not.
 * https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/
 */
function interpolated(expr: string, variables: readonly string[], choice: Choice, shown: Shown): string {
  const step = stepOf(shown);
  const durations: Readonly<Record<string, number>> = {
    __interval: step,
    __rate_interval: Math.max(step + scrapeSeconds, 4 * scrapeSeconds),
    __range: Math.round(shown.to - shown.from),
  };
  return expr.replaceAll(/\$(\w+)/g, (_match, name: string) => {
    const seconds = durations[name];
    if (seconds !== undefined) return `${seconds}s`;
    if (!variables.includes(name)) throw new Error(`There is no variable ${name}: ${expr}`);
    return chosen(choice[name]);
  });
}

/** All is `.*`, as the variables say; several are alternatives. */
function chosen(values: readonly string[] | undefined): string {
  if (!values) return '.*';
  const escaped = values.map((value) => value.replaceAll(/[\\^$*+?.()|[\]{}]/g, String.raw`\\$&`));
  return escaped.length === 1 ? (escaped[0] ?? '') : `(${escaped.join('|')})`;
}

const nameOf = ({ legendFormat = '' }: Target, metric: Labels): string =>
  legendFormat.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (_match, label: string) => metric[label] ?? '');

/** Whether anything would be seen of it: a series that is NaN all the time is not. */
export const hasData = ({ series }: TargetData): boolean =>
  series.some(({ points }) => points.some(([, value]) => !Number.isNaN(value)));

export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number | undefined)[])[];
}

interface Transformations {
  readonly merge?: object;
  readonly organize?: {
    readonly excludeByName: Readonly<Record<string, boolean>>;
    readonly indexByName: Readonly<Record<string, number>>;
    readonly renameByName: Readonly<Record<string, string>>;
  };
  readonly sortBy?: { readonly sort: readonly { readonly field: string; readonly desc?: boolean }[] };
}

/** Rows by their labels with a value of each query, as the transformations merge, organize and sortBy of the panel make them. */
export function tableOf({ transformations = [] }: Panel, data: readonly TargetData[]): Table {
  const known = ['merge', 'organize', 'sortBy'];
  if (transformations.map(({ id }) => id).join() !== known.join())
    throw new Error(`Of tables that are transformed by ${known.join(', ')} alone are rows made here`);
  const { organize, sortBy } = Object.fromEntries(
    transformations.map(({ id, options }) => [id, options]),
  ) as Transformations; // of our own making, see helm/dashboards-src/fleet.ts
  const merged = new Map<string, Record<string, string | number>>();
  for (const { refId, series } of data) {
    for (const { metric, points } of series) {
      const row = merged.get(JSON.stringify(metric)) ?? { ...metric };
      merged.set(JSON.stringify(metric), { ...row, [`Value #${refId}`]: points.at(-1)?.[1] ?? Number.NaN });
    }
  }
  const place = organize?.indexByName ?? {};
  const fields = [...new Set([...merged.values()].flatMap((row) => Object.keys(row)))]
    .filter((name) => organize?.excludeByName[name] !== true)
    .sort((a, b) => (place[a] ?? Infinity) - (place[b] ?? Infinity));
  const columns = fields.map((name) => organize?.renameByName[name] ?? name);
  const rows = [...merged.values()].map((row) => fields.map((name) => row[name]));
  const [by] = sortBy?.sort ?? [];
  const at = columns.indexOf(by?.field ?? '');
  const number = (row: (typeof rows)[number]): number => Number(row[at] ?? Number.NaN);
  return { columns, rows: rows.sort((a, b) => (number(a) - number(b)) * (by?.desc ? -1 : 1)) };
}
