// The forms of panel that both dashboards are made of.
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import {
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizOrientation,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  type Threshold,
  ThresholdsConfigBuilder,
  ThresholdsMode,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

export const prometheus = { type: 'prometheus', uid: '$datasource' };

/** A query and what its series are called. */
export interface Query {
  readonly expr: string;
  readonly legend: string;
  /** Where it differs from the panel's. */
  readonly unit?: string;
}

export interface PanelOptions {
  readonly title: string;
  readonly description: string;
  readonly queries: readonly Query[];
  /** One of Grafana's units. */
  readonly unit: string;
  /** Columns of 24. */
  readonly width: number;
  readonly height?: number;
  readonly thresholds?: readonly Threshold[];
  /** Shown while there is no value. */
  readonly noValue?: string;
  readonly min?: number;
  readonly max?: number;
  readonly decimals?: number;
  /** Of series by what their name begins with; the others take Grafana's in turn. */
  readonly colors?: Readonly<Record<string, string>>;
}

export const green = 'green';
export const yellow = 'yellow';
export const red = 'red';
export const blue = 'blue';
export const orange = 'orange';
export const purple = 'purple';
export const grey = '#8e8e8e';

/** From green on, at these values. */
export const steps = (warnAt: number | null, alarmAt: number | null): Threshold[] => [
  { value: null, color: green },
  ...(warnAt === null ? [] : [{ value: warnAt, color: yellow }]),
  ...(alarmAt === null ? [] : [{ value: alarmAt, color: red }]),
];

/** Good from a value on, bad below it. */
export const stepsUp = (goodFrom: number): Threshold[] => [
  { value: null, color: red },
  { value: goodFrom, color: green },
];

const refIds = 'ABCDEFGHIJ';

const promQuery = ({ expr, legend }: Query, index: number): DataqueryBuilder =>
  new DataqueryBuilder().refId(refIds.charAt(index)).expr(expr).legendFormat(legend).datasource(prometheus);

const thresholdsOf = (options: PanelOptions): ThresholdsConfigBuilder =>
  new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps([...(options.thresholds ?? steps(null, null))]);

/** What all panels share. */
interface Common<P> {
  title(title: string): P;
  description(text: string): P;
  datasource(source: typeof prometheus): P;
  unit(unit: string): P;
  span(width: number): P;
  height(height: number): P;
  thresholds(thresholds: Builder<ReturnType<ThresholdsConfigBuilder['build']>>): P;
  targets(targets: Builder<Dataquery>[]): P;
  min(value: number): P;
  max(value: number): P;
  decimals(count: number): P;
  noValue(text: string): P;
  overrideByQuery(refId: string, properties: { id: string; value?: unknown }[]): P;
  overrideByRegexp(pattern: string, properties: { id: string; value?: unknown }[]): P;
}

function dressed<P extends Common<P>>(panel: P, options: PanelOptions, defaultHeight: number): P {
  panel
    .title(options.title)
    .description(options.description)
    .datasource(prometheus)
    .unit(options.unit)
    .span(options.width)
    .height(options.height ?? defaultHeight)
    .thresholds(thresholdsOf(options));
  if (options.min !== undefined) panel.min(options.min);
  if (options.max !== undefined) panel.max(options.max);
  if (options.decimals !== undefined) panel.decimals(options.decimals);
  if (options.noValue !== undefined) panel.noValue(options.noValue);
  options.queries.forEach(({ unit }, index) => {
    if (unit === undefined) return;
    // Of another unit than the thresholds: without a colour of its own.
    const properties = [
      { id: 'unit', value: unit },
      ...(unit === 's' ? [{ id: 'decimals', value: 1 }] : []),
      { id: 'thresholds', value: { mode: 'absolute', steps: [{ value: null, color: 'text' }] } },
    ];
    panel.overrideByQuery(refIds.charAt(index), properties);
  });
  for (const [beginning, color] of Object.entries(options.colors ?? {}))
    panel.overrideByRegexp(`/^${beginning}\\b/`, [
      { id: 'color', value: { mode: 'fixed', fixedColor: color } },
    ]);
  return panel;
}

/** Numbers as they are now, large, one for each series. */
export function stat(options: PanelOptions): StatBuilder {
  return dressed(new StatBuilder(), options, 5)
    .targets(options.queries.map((query, index) => promQuery(query, index).instant()))
    .colorMode(BigValueColorMode.Value)
    .graphMode(BigValueGraphMode.None)
    .textMode(BigValueTextMode.ValueAndName)
    .orientation(VizOrientation.Horizontal)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false));
}

/** Lines over time; stacked where parts make a whole. */
export function graph(options: PanelOptions & { readonly isStacked?: boolean }): TimeseriesBuilder {
  return dressed(new TimeseriesBuilder(), options, 8)
    .targets(options.queries.map((query, index) => promQuery(query, index).range()))
    .lineWidth(1)
    .fillOpacity(options.isStacked ? 25 : 5)
    .stacking(
      new StackingConfigBuilder()
        .mode(options.isStacked ? StackingMode.Normal : StackingMode.None)
        .group('A'),
    )
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true)
        .calcs([]),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi));
}

/** An instant query whose series are rows of a table. */
export const tableQuery = (expr: string, refId: string): DataqueryBuilder =>
  new DataqueryBuilder()
    .refId(refId)
    .expr(expr)
    .instant()
    .format(PromQueryFormat.Table)
    .datasource(prometheus);
