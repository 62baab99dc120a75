// A graph over time as SVG: lines, stacked areas, axes.
import type { Point } from '../support/prometheus.js';
import { formattedTick, niceStep } from './units.js';

export interface Line {
  readonly color: string;
  readonly points: readonly Point[];
}

export interface GraphOptions {
  readonly width: number;
  readonly height: number;
  readonly from: number;
  readonly to: number;
  /** Seconds between two points; where there are more, the line is broken. */
  readonly step: number;
  readonly unit: string;
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  /** Of the values at the axis. */
  readonly decimals?: number | undefined;
  readonly isStacked: boolean;
  /** 0 to 100. */
  readonly fillOpacity: number;
}

const margin = { left: 62, right: 10, top: 8, bottom: 22 };
const faint = 'rgba(204, 204, 220, 0.08)';
const timeSteps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 10_800, 21_600];

/** Where a time and a value are, in pixels. */
interface Scales {
  readonly x: (at: number) => number;
  readonly y: (value: number) => number;
}

/** From a lower to an upper edge, for a run of points without a gap. */
type Band = readonly (readonly [at: number, low: number, high: number])[];

export function graphSvg(lines: readonly Line[], options: GraphOptions): string {
  const bands = bandsOf(lines, options);
  const marks = marksOf(bands.flat(2), options);
  const [low = 0, high = 1] = [marks.at(0), marks.at(-1)];
  const { width, height, from, to } = options;
  const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  const scales: Scales = {
    x: (at) => margin.left + ((at - from) / (to - from)) * inner.width,
    y: (value) => margin.top + inner.height * (1 - (value - low) / (high - low)),
  };
  const drawn = bands.map((runs, index) =>
    runs.map((run) => bandSvg(run, lines[index]?.color ?? '', scales, options, low)).join(''),
  );
  return [
    `<svg width="${width}" height="${height}">`,
    ...marks.map((mark) => valueMark(mark, options, scales)),
    ...timeMarks(options, inner.width).map((at) => timeMark(at, options, scales)),
    // What is beyond the axes is cut off.
    `<svg x="${margin.left}" y="${margin.top - 1}" width="${inner.width}" height="${inner.height + 2}" viewBox="${margin.left} ${margin.top - 1} ${inner.width} ${inner.height + 2}">`,
    ...drawn,
    '</svg></svg>',
  ].join('');
}

/** Of each line its runs; stacked ones stand on those before them, where a missing value adds nothing. */
function bandsOf(lines: readonly Line[], { isStacked, step, min = 0 }: GraphOptions): Band[][] {
  const tops = new Map<number, number>();
  return lines.map(({ points }) => {
    const band = points
      .filter(([, value]) => Number.isFinite(value))
      .map(([at, value]) => {
        const base = isStacked ? (tops.get(at) ?? 0) : min;
        const top = isStacked ? base + value : value;
        if (isStacked) tops.set(at, top);
        return [at, base, top] as const;
      });
    return runsOf(band, step);
  });
}

function runsOf(band: Band, step: number): Band[] {
  const runs: [number, number, number][][] = [];
  let last = -Infinity;
  for (const [at, low, high] of band) {
    if (at - last > step * 1.5) runs.push([]);
    runs.at(-1)?.push([at, low, high]);
    last = at;
  }
  return runs;
}

function bandSvg(run: Band, color: string, { x, y }: Scales, options: GraphOptions, floor: number): string {
  const place = (at: number, value: number): string => `${x(at).toFixed(1)},${y(value).toFixed(1)}`;
  const top = run.map(([at, , high]) => place(at, high));
  if (top.length === 1) return `<circle cx="${top[0]?.replace(',', '" cy="')}" r="1.6" fill="${color}"/>`;
  const bottom = run.map(([at, low]) => place(at, options.isStacked ? low : Math.max(low, floor))).reverse();
  return [
    `<polygon points="${[...top, ...bottom].join(' ')}" fill="${color}" fill-opacity="${options.fillOpacity / 100}"/>`,
    `<polyline points="${top.join(' ')}" fill="none" stroke="${color}" stroke-width="1.4" stroke-linejoin="round"/>`,
  ].join('');
}

/** Values with a line of the grid, from the lowest to the highest that is shown. */
function marksOf(
  drawn: readonly (readonly number[])[],
  { unit, min, max, decimals, height }: GraphOptions,
): number[] {
  const values = drawn.map(([, , high]) => high ?? 0);
  const low = min ?? Math.min(...values);
  const highest = max ?? Math.max(...values);
  const high = highest > low ? highest : low + 1;
  const least = decimals === undefined ? 0 : 10 ** -decimals;
  const step = Math.max(least, niceStep((high - low) / Math.max(2, Math.floor(height / 45)), unit));
  const first = Math.floor(low / step);
  const count = Math.max(1, Math.ceil(high / step - 0.001) - first);
  return Array.from({ length: count + 1 }, (_each, index) => (first + index) * step);
}

function valueMark(value: number, { width, unit }: GraphOptions, { y }: Scales): string {
  const at = y(value).toFixed(1);
  return [
    `<line x1="${margin.left}" x2="${width - margin.right}" y1="${at}" y2="${at}" stroke="${faint}"/>`,
    `<text x="${margin.left - 6}" y="${at}" dy="4" text-anchor="end">${formattedTick(value, unit)}</text>`,
  ].join('');
}

function timeMarks({ from, to }: GraphOptions, width: number): number[] {
  const most = Math.max(2, Math.floor(width / 70));
  const step = timeSteps.find((each) => (to - from) / each <= most) ?? 86_400;
  const first = Math.ceil(from / step) * step;
  return Array.from({ length: Math.floor((to - first) / step) + 1 }, (_each, index) => first + index * step);
}

function timeMark(at: number, { width, height, to, from }: GraphOptions, { x }: Scales): string {
  const left = x(at).toFixed(1);
  const middle = Math.min(x(at), width - 28).toFixed(1);
  const time = new Date(at * 1_000).toISOString().slice(11, to - from < 1_800 ? 19 : 16);
  return [
    `<line x1="${left}" x2="${left}" y1="${margin.top}" y2="${height - margin.bottom}" stroke="${faint}"/>`,
    `<text x="${middle}" y="${height - 6}" text-anchor="middle">${time}</text>`,
  ].join('');
}
