// How the series of the dashboard of one job are called, of which there may be several beside each other.
import type { Query } from './panels.js';
import * as q from './queries.js';

export const jobLegend = '{{job}}';
export const named = (name: string): string => `${name} ${jobLegend}`;
export const percentiles = (
  name: Parameters<typeof q.quantile>[1],
  labels: readonly string[],
  of: string,
): Query[] =>
  [0.5, 0.99].map((quantile) => ({
    expr: q.quantile(quantile, name, labels),
    legend: `p${quantile * 100} ${of}`.trim(),
  }));
