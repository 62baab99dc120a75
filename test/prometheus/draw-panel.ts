// One panel as HTML: numbers, graphs and tables, with colours and units as its file says.
import type { FieldDefaults, Panel, Step } from '../support/dashboards.js';
import {
  hasData,
  type NamedSeries,
  type Shown,
  stepOf,
  type Table,
  tableOf,
  type TargetData,
} from '../support/grafana.js';
import { graphSvg } from './draw-graph.js';
import type { Size } from './png.js';
import { formatted } from './units.js';

/** As Grafana's classic palette begins in its dark theme. */
const palette = [
  '#73bf69',
  '#f2cc0c',
  '#8ab8ff',
  '#ff780a',
  '#f2495c',
  '#5794f2',
  '#b877d9',
  '#705da0',
  '#37872d',
  '#fade2a',
  '#447ebc',
  '#c15c17',
];
const named: Readonly<Record<string, string>> = {
  green: '#73bf69',
  yellow: '#f2cc0c',
  red: '#f2495c',
  blue: '#5794f2',
  orange: '#ff9830',
  purple: '#b877d9',
  text: '#ccccdc',
};
const titleHeight = 32;
const legendLine = 18;
const mostLegendLines = 4;

export const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** What stands in the panel's frame. */
export function panelHtml(panel: Panel, data: readonly TargetData[], shown: Shown, size: Size): string {
  if (panel.type === 'row') return `<div class="row">⌄ ${escaped(panel.title)}</div>`;
  const inner = { width: size.width, height: size.height - titleHeight };
  return `<div class="title">${escaped(panel.title)}</div>${bodyOf(panel, data, shown, inner)}`;
}

function bodyOf(panel: Panel, data: readonly TargetData[], shown: Shown, size: Size): string {
  const defaults = panel.fieldConfig?.defaults ?? {};
  if (!data.some(hasData)) return `<div class="none">${escaped(defaults.noValue ?? 'No data')}</div>`;
  switch (panel.type) {
    case 'stat':
      return statHtml(panel, data, size);
    case 'timeseries':
      return graphHtml(panel, data, shown, size);
    case 'table':
      return tableHtml(panel, tableOf(panel, data));
    default:
      throw new Error(`Panels of the type ${panel.type} are not drawn here`);
  }
}

/** How a number is shown: the panel's defaults, and what is said of this query or column besides. */
interface Look extends FieldDefaults {
  readonly isFilled?: boolean;
}

function lookOf({ fieldConfig }: Panel, matcher: string, of: string): Look {
  const found = fieldConfig?.overrides.filter(
    ({ matcher: { id, options } }) => id === matcher && options === of,
  );
  const properties = (found ?? []).flatMap((override) => override.properties);
  const set = Object.fromEntries(properties.map(({ id, value }) => [id, value])) as Partial<FieldDefaults>;
  const isFilled = properties.some(({ id }) => id === 'custom.cellOptions');
  return { ...fieldConfig?.defaults, ...set, isFilled };
}

function colorAt(value: number, steps: readonly Step[] = []): string {
  const step = steps.findLast((each) => each.value === null || value >= each.value);
  return colorNamed(step?.color ?? 'text');
}

function statHtml(panel: Panel, data: readonly TargetData[], { width, height }: Size): string {
  const numbers = data.flatMap(({ refId, series }) =>
    series.map(({ name, points }) => ({
      name,
      value: points.at(-1)?.[1] ?? Number.NaN,
      look: lookOf(panel, 'byFrameRefID', refId),
    })),
  );
  const rows = numbers.map(({ name, value, look: { unit = 'short', decimals, thresholds } }) => {
    const text = formatted(value, unit, decimals);
    const widest = (width - 30 - name.length * 7) / text.length / 0.6;
    const size = Math.max(14, Math.min(30, widest, (height - 12) / numbers.length / 1.35));
    const style = `color:${colorAt(value, thresholds?.steps)};font-size:${size.toFixed(1)}px`;
    return `<div class="number"><span>${escaped(name)}</span><b style="${style}">${text}</b></div>`;
  });
  return `<div class="stat">${rows.join('')}</div>`;
}

/** The colour that the panel gives to names that fit, or the palette's next. */
function colorOf({ fieldConfig }: Panel, name: string, index: number): string {
  const override = fieldConfig?.overrides.find(
    ({ matcher: { id, options } }) => id === 'byRegexp' && new RegExp(options.slice(1, -1)).test(name),
  );
  const color = override?.properties.find(({ id }) => id === 'color')?.value as
    { readonly fixedColor: string } | undefined; // as helm/dashboards-src/panels.ts writes it
  return colorNamed(color?.fixedColor ?? palette[index % palette.length] ?? '');
}

const colorNamed = (color: string): string => named[color] ?? color;

function graphHtml(panel: Panel, data: readonly TargetData[], shown: Shown, { width, height }: Size): string {
  const { unit = 'short', min, max, decimals, custom }: FieldDefaults = panel.fieldConfig?.defaults ?? {};
  const lines = data
    .flatMap(({ series }) => series)
    .map((series, index) => ({ ...series, color: colorOf(panel, series.name, index) }));
  const legend = legendOf(lines, width);
  const isStacked = custom?.stacking?.mode === 'normal';
  const svg = graphSvg(lines, {
    ...{ width, height: height - legend.height, unit, min, max, decimals, isStacked },
    ...{ from: shown.from, to: shown.to, step: stepOf(shown) },
    fillOpacity: custom?.fillOpacity ?? 0,
  });
  return svg + legend.html;
}

/** The names beneath a graph, in a few lines at most; those that have no place are counted. */
function legendOf(
  lines: readonly (NamedSeries & { readonly color: string })[],
  width: number,
): { readonly html: string; readonly height: number } {
  const items = lines.map(({ name, color }) => ({
    width: name.length * 6.5 + 33,
    html: `<span><i style="background:${color}"></i>${escaped(name)}</span>`,
  }));
  const rows: { width: number; html: string }[] = [];
  let left = 0;
  for (const item of items) {
    const row = rows.at(-1);
    // In the last one there is room to say how many more there are.
    const room = width - (rows.length === mostLegendLines && item !== items.at(-1) ? 96 : 16);
    if (row && left === 0 && row.width + item.width <= room) {
      row.width += item.width;
      row.html += item.html;
    } else if (rows.length < mostLegendLines) {
      rows.push({ ...item });
    } else {
      left += 1;
    }
  }
  const more = left === 0 ? '' : `<span>and ${left} more</span>`;
  const html = rows.map((row) => row.html).join('<br>');
  return { html: `<div class="legend">${html}${more}</div>`, height: rows.length * legendLine + 8 };
}

function tableHtml(panel: Panel, { columns, rows }: Table): string {
  const looks = columns.map((name) => lookOf(panel, 'byName', name));
  const cell = (value: string | number | undefined, index: number): string => {
    const { unit = 'short', decimals, thresholds, isFilled } = looks[index] ?? {};
    if (typeof value !== 'number') return `<td>${escaped(value ?? '')}</td>`;
    const color = colorAt(value, thresholds?.steps);
    const style = isFilled ? ` style="background:${color};color:#111217"` : '';
    return `<td class="value"${style}>${formatted(value, unit, decimals)}</td>`;
  };
  const head = columns.map((name, index) => {
    const isValue = rows.some((row) => typeof row[index] === 'number');
    return `<th${isValue ? ' class="value"' : ''}>${escaped(name)}</th>`;
  });
  const body = rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`);
  return `<table><tr>${head.join('')}</tr>${body.join('')}</table>`;
}
