// How requests ended, for a person (text) and for a script (JSON). Of customers there are ids alone.
import { mongo } from 'mongoose';
import { serviceName } from '../../base/version.js';
import type { RequestStatus, SyncRequestDocument } from '../../requests/request.js';
import { type RequestView, soundView } from '../../requests/view.js';
import { type Outcome, outcomes, statusOf } from '../../sync/outcome.js';
import { type ExitCode, exitCodes } from '../faults.js';
import type { Queue } from '../session.js';
import { count, counted, duration } from './table.js';
import type { Terminal } from './terminal.js';

/** How they ended together: as one does if that is how all did, otherwise `partial`. */
export function overallStatus(requests: readonly RequestView[]): RequestStatus {
  const statuses = new Set(requests.map(statusOfOne));
  const [only] = statuses;
  return statuses.size === 1 && only !== undefined ? only : 'partial';
}

/** Of one that ended with another scan, as that one did. */
function statusOfOne({ status = 'pending', result }: RequestView): RequestStatus {
  return status === 'coalesced' && result ? statusOf(result) : status;
}

/** The result in a few lines: how it ended, a count an outcome, what failed. */
export function summaryText(requests: readonly RequestView[]): string {
  return [
    headline(requests),
    ...countsTable(requests),
    ...requests.flatMap(heldLines),
    ...requests.flatMap((request) => errorLines(request, requests.length > 1)),
    ...failedItems(requests),
  ].join('\n');
}

export function headline(requests: readonly RequestView[]): string {
  const [first] = requests;
  const other = first?.coalescedInto ? `, ran as ${String(first.coalescedInto)}` : '';
  const name =
    requests.length === 1 ? `request ${String(first?._id)}${other}` : counted(requests.length, 'request');
  const seconds = secondsOf(requests);
  const dry = requests.some(({ dryRun }) => dryRun === true) ? ', a dry run: nothing was written' : '';
  const time = seconds === undefined ? '' : ` in ${duration(seconds)}`;
  return `${first?.command ?? ''} ${overallStatus(requests)}${time} (${name})${dry}`;
}

/** From the start of the first to the end of the last. */
function secondsOf(requests: readonly RequestView[]): number | undefined {
  const starts = requests.flatMap(({ startedAt }) => startedAt?.getTime() ?? []);
  const ends = requests.flatMap(({ finishedAt }) => finishedAt?.getTime() ?? []);
  if (starts.length === 0 || ends.length === 0) return undefined;
  return Math.max(0, latest(ends) - earliest(starts)) / 1_000;
}

const latest = (times: readonly number[]): number => times.reduce((a, b) => Math.max(a, b));
const earliest = (times: readonly number[]): number => times.reduce((a, b) => Math.min(a, b));

export function countsTable(requests: readonly RequestView[]): string[] {
  const results = requests.flatMap(({ result }) => result ?? []);
  if (results.length === 0) return [];
  const sum = (outcome: Outcome): string =>
    count(results.reduce((total, result) => total + result[outcome], 0));
  const columns = outcomes.map((outcome) => ({ outcome, text: sum(outcome) }));
  const width = ({ outcome, text }: (typeof columns)[number]): number =>
    Math.max(outcome.length, text.length);
  return [
    columns.map((column) => column.outcome.padStart(width(column))).join('  '),
    columns.map((column) => column.text.padStart(width(column))).join('  '),
  ].map((line) => `  ${line}`);
}

export function heldLines({ _id, coalescedInto, result }: RequestView): string[] {
  const held = result?.removalsHeld ?? 0;
  if (held === 0) return [];
  return [
    `  ${counted(held, 'removal')} held for approval: more than removals.maxCount and removals.maxRatio allow`,
    `  find out why; then: ${serviceName} approve-removals ${String(coalescedInto ?? _id)}`,
  ];
}

export function errorLines({ _id, error, result }: RequestView, isNamed: boolean): string[] {
  // Where everything failed, the error is that of the first item, which is listed below.
  const isListed =
    result?.items.some(({ outcome, code }) => outcome === 'failed' && code === error?.code) ?? false;
  if (!error || isListed) return [];
  const faults = error.faults ?? [error.message];
  const name = isNamed ? `request ${String(_id)}: ` : '';
  const cause = error.cause
    ? [`the last attempt ended with ${error.cause.code}: ${error.cause.message}`]
    : [];
  return [...faults.map((fault) => `${error.code}: ${fault}`), ...cause].map((line) => `  ${name}${line}`);
}

const mostListed = 20;

function failedItems(requests: readonly RequestView[]): string[] {
  const failed = requests
    .flatMap(({ result }) => result?.items ?? [])
    .filter(({ outcome }) => outcome === 'failed');
  if (failed.length === 0) return [];
  const total = requests.reduce((sum, { result }) => sum + (result?.failed ?? 0), 0);
  const listed = failed.slice(0, mostListed);
  const more = total - listed.length;
  return [
    '  failed:',
    ...aligned(listed.map(({ id, code, message = '' }) => [id, code ?? '', message])),
    ...(more > 0 ? [`    and ${count(more)} more; --json lists up to 1,000 of each request`] : []),
  ];
}

/** Cells in columns, the last one as long as it is. */
function aligned(rows: readonly (readonly [string, string, string])[]): string[] {
  const widthOf = (column: 0 | 1): number => latest(rows.map((row) => row[column].length));
  const widths = [widthOf(0), widthOf(1)] as const;
  return rows.map(([id, code, message]) =>
    `    ${id.padEnd(widths[0])}  ${code.padEnd(widths[1])}  ${message}`.trimEnd(),
  );
}

/** One line of JSON: ids in hex, dates as ISO 8601, other types of BSON as EJSON has them. A batch that is still whole is reduced to its ids. */
export function requestJson(request: RequestView | SyncRequestDocument): string {
  const batch = 'batch' in request ? request.batch : undefined;
  return jsonOf(Array.isArray(batch) ? { ...request, batch: (batch as unknown[]).map(idOf) } : request);
}

/** A request of a list or a watch: without items, of which such a look reads none. */
export function rowOf({ result, ...request }: RequestView): object {
  return { ...request, ...(result && { result: { ...result, items: undefined } }) };
}

/** As `requestJson`, for whatever holds values of BSON. */
export const jsonOf = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    isBson(inner) ? mongo.BSON.EJSON.serialize(inner) : inner,
  );

/** Of those that JSON.stringify has not made texts of already, as it does with ids and dates. */
const isBson = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && '_bsontype' in value;

function idOf(entry: unknown): unknown {
  const isObject = typeof entry === 'object' && entry !== null;
  return isObject ? ('id' in entry && typeof entry.id === 'string' ? entry.id : null) : entry;
}

// How requests ended, on stdout, and the exit code that says it too.
/** Prints a summary, or with `json` each document. Returns the exit code. */
export async function printEnded(
  terminal: Terminal,
  { requests }: Pick<Queue, 'requests'>,
  ended: readonly RequestView[],
  { json }: { readonly json?: true },
): Promise<ExitCode> {
  if (json) {
    for (const view of ended) {
      // Read again whole, one at a time: following leaves out ids and batches. Where it has been removed meanwhile, what was seen.
      const whole: SyncRequestDocument | null = await requests.findOne({ _id: view._id });
      terminal.result(requestJson(whole ?? view));
    }
  } else {
    terminal.result(summaryText(ended.map(soundView)));
  }
  return endCode(ended);
}

/** 0 where all succeeded. */
export const endCode = (ended: readonly RequestView[]): ExitCode =>
  overallStatus(ended) === 'succeeded' ? exitCodes.succeeded : exitCodes.failed;
