// As much of PromQL as the contract tests need: which metrics an expression names, and what is aggregated by what.

const aggregations = [
  'sum',
  'avg',
  'min',
  'max',
  'count',
  'group',
  'stddev',
  'stdvar',
  'topk',
  'bottomk',
  'quantile',
];

export interface Aggregation {
  readonly operator: string;
  readonly labels: readonly string[];
  /** What stands in its parentheses. */
  readonly argument: string;
}

/** The expression without what stands between quotes. */
const withoutStrings = (expr: string): string => expr.replaceAll(/"(?:\\.|[^"\\])*"/g, '""');

/** All aggregations, also those inside others. Throws where the labels do not stand before the parentheses. */
export function aggregationsOf(expr: string): Aggregation[] {
  const text = withoutStrings(expr);
  const head = new RegExp(`\\b(${aggregations.join('|')})\\s*(?:by\\s*\\(([^)]*)\\)\\s*)?\\(`, 'g');
  return [...text.matchAll(head)].map((match) => {
    const start = match.index + match[0].length;
    const end = closing(text, start);
    if (/^\s*(?:by|without)\b/.test(text.slice(end + 1))) throw new Error(`Put the labels first: ${expr}`);
    const labels = (match[2] ?? '').split(',').map((label) => label.trim());
    return {
      operator: match[1] ?? '',
      labels: labels.filter((label) => label !== ''),
      argument: text.slice(start, end),
    };
  });
}

/** Names that start with the prefix, of metrics and of what is recorded. */
export const namesIn = (text: string, prefix = 'stripe_sync_'): string[] => [
  ...new Set(
    [...text.matchAll(new RegExp(`(?:\\w+:)?\\b${prefix}[a-z0-9_]+(?::\\w+)?`, 'g'))].map(([name]) => name),
  ),
];

function closing(text: string, from: number): number {
  let depth = 1;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === '(') depth += 1;
    if (text[at] === ')') depth -= 1;
    if (depth === 0) return at;
  }
  throw new Error(`A parenthesis is open: ${text}`);
}
