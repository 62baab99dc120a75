// The results of requests: text for a person, JSON for a script. Customers appear as ids only.
import { mongo } from 'mongoose';
import { serviceName } from '../../base/version.js';
import type { RequestStatus, SyncRequestDocument } from '../../requests/request.js';
import { type RequestView, soundView } from '../../requests/view.js';
import { outcomes, statusOf } from '../../sync/outcome.js';
import { type ExitCode, exitCodes } from '../faults.js';
import type { Session } from '../session.js';
import { count, counted, duration, plain, tableLines } from './table.js';

/** The common status of all requests, otherwise `partial`. */
export function overallStatus(requests: readonly RequestView[]): RequestStatus {
  const statuses = new Set(requests.map(statusOfOne));
  const [only] = statuses;
  return statuses.size === 1 && only !== undefined ? only : 'partial';
}

/** A coalesced scan has the status of the scan that ran on its behalf. */
function statusOfOne({ status = 'pending', result }: RequestView): RequestStatus {
  return status === 'coalesced' && result ? statusOf(result) : status;
}

/** The result in a few lines: how it ended, a count per outcome, what failed. */
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
  const commands = [...new Set(requests.map(({ command }) => command))].join(', ');
  return `${commands} ${overallStatus(requests)}${time} (${name})${dry}`;
}

/** From the first start to the last end. */
function secondsOf(requests: readonly RequestView[]): number | undefined {
  const starts = requests.flatMap(({ startedAt }) => startedAt?.getTime() ?? []);
  const ends = requests.flatMap(({ finishedAt }) => finishedAt?.getTime() ?? []);
  if (starts.length === 0 || ends.length === 0) return undefined;
  return Math.max(0, Math.max(...ends) - Math.min(...starts)) / 1_000;
}

export function countsTable(requests: readonly RequestView[]): string[] {
  const results = requests.flatMap(({ result }) => result ?? []);
  if (results.length === 0) return [];
  const columns = outcomes.map((header) => ({ header, align: 'right' }) as const);
  const sums = outcomes.map((outcome) => count(results.reduce((sum, result) => sum + result[outcome], 0)));
  return tableLines(columns, [sums]).map((line) => `  ${line}`);
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
  return [...faults.map((fault) => `${error.code}: ${fault}`), ...cause].map(
    (line) => `  ${name}${plain(line)}`,
  );
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
  const cells = listed.map(({ id, code = '', message = '' }) => [id, code, message]);
  const [, ...rows] = tableLines([{ header: '' }, { header: '' }, { header: '' }], cells);
  return [
    '  failed:',
    ...rows.map((row) => `    ${row}`),
    ...(more > 0 ? [`    and ${count(more)} more; --json lists up to 1,000 of each request`] : []),
  ];
}

/**
 * One line of JSON: ids in hex, dates as ISO 8601, other BSON types as EJSON. A batch is reduced to its ids.
 */
export function requestJson(request: RequestView | SyncRequestDocument): string {
  const batch = 'batch' in request ? request.batch : undefined;
  return jsonOf(Array.isArray(batch) ? { ...request, batch: (batch as unknown[]).map(idOf) } : request);
}

/** A request from a list or a watch, which do not read items. */
export function rowOf({ result, ...request }: RequestView): object {
  return { ...request, ...(result && { result: { ...result, items: undefined } }) };
}

/** Like `requestJson`, for any value that contains BSON types. */
export const jsonOf = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    isBson(inner) ? mongo.BSON.EJSON.serialize(inner) : inner,
  );

/**
 * A value that JSON.stringify has not yet turned into text, unlike ids and dates. A plain object may have a
 * key of that name.
 */
const isBson = (value: unknown): value is object =>
  typeof value === 'object' &&
  value !== null &&
  '_bsontype' in value &&
  Object.getPrototypeOf(value) !== Object.prototype;

function idOf(entry: unknown): unknown {
  const isObject = typeof entry === 'object' && entry !== null;
  return isObject ? ('id' in entry && typeof entry.id === 'string' ? entry.id : null) : entry;
}

/** Prints a summary, or with `json` each document. Returns the exit code. */
export async function printEnded(
  { terminal, requests }: Session,
  ended: readonly RequestView[],
  json: true | undefined,
): Promise<ExitCode> {
  if (!json) terminal.result(summaryText(ended.map(soundView)));
  else {
    for (const view of ended) {
      // Read again, because following omits ids and batch. The request may have been removed since.
      const whole: SyncRequestDocument | null = await requests.findOne({ _id: view._id });
      terminal.result(requestJson(whole ?? view));
    }
  }
  return endCode(ended);
}

/** 0 where all succeeded. */
export const endCode = (ended: readonly RequestView[]): ExitCode =>
  overallStatus(ended) === 'succeeded' ? exitCodes.succeeded : exitCodes.failed;
