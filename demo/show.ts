// What the demo prints: headings, request documents, and the metrics that a dashboard would draw.
import { indented, packed } from './document.js';

const print = (text: string): void => void process.stdout.write(`${text}\n`);

export const heading = (text: string): void => {
  print(`\n── ${text} ${'─'.repeat(Math.max(0, 76 - text.length))}`);
};

export const note = (text: string): void => {
  print(indented(text, 2));
};

export const document = (found: unknown): void => {
  print(indented(packed(found), 4));
};

/** Samples of the text format (https://prometheus.io/docs/instrumenting/exposition_formats/), by name with labels. */
export function samplesOf(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(' ');
      return [line.slice(0, end), Number(line.slice(end + 1))] as const;
    }),
  );
}

/** One sample, or the sum of all that have the name and carry the labels. */
export function total(
  samples: ReadonlyMap<string, number>,
  name: string,
  labels: Record<string, string> = {},
): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  let sum = 0;
  for (const [sample, value] of samples) {
    const [base] = sample.split('{');
    if (base === name && wanted.every((label) => sample.includes(label))) sum += value;
  }
  return sum;
}

/** The first row of a dashboard, in text. */
export function panels(samples: ReadonlyMap<string, number>): void {
  const prefix = 'stripe_sync_';
  const age = Date.now() / 1_000 - total(samples, `${prefix}last_complete_scan_timestamp_seconds`);
  const waits =
    total(samples, `${prefix}request_wait_seconds_sum`) /
    total(samples, `${prefix}request_wait_seconds_count`);
  const calls =
    total(samples, `${prefix}stripe_call_duration_seconds_sum`) /
    total(samples, `${prefix}stripe_call_duration_seconds_count`);
  const rows: (readonly [string, string])[] = [
    ['mirror complete', `${age.toFixed(1)} s ago`],
    [
      'customers mirrored',
      `${total(samples, `${prefix}mirror_objects`, { state: 'live' })} live, ${total(samples, `${prefix}mirror_objects`, { state: 'deleted' })} deleted`,
    ],
    [
      'requests ended',
      ['succeeded', 'partial', 'cancelled', 'failed']
        .map((status) => `${total(samples, `${prefix}requests_total`, { status })} ${status}`)
        .join(', '),
    ],
    ['mean wait of a request', `${(waits * 1_000).toFixed(0)} ms`],
    [
      'calls to Stripe',
      `${total(samples, `${prefix}stripe_calls_total`)}, ${(calls * 1_000).toFixed(0)} ms each`,
    ],
    ['of them limited by Stripe', `${total(samples, `${prefix}stripe_rate_limited_total`)}`],
    ['rate in use', `${total(samples, `${prefix}rate_limiter_calls_per_second`)} calls/s`],
    [
      'resident memory',
      `${(total(samples, 'process_resident_memory_bytes') / 2 ** 20).toFixed(0)} MiB (run from source; the image takes less)`,
    ],
  ];
  for (const [name, value] of rows) note(`${name.padEnd(28)}${value}`);
}
