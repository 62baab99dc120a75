// A request as one line: how old it is, how long it took, what came of it or what it waits for.
import { isEndStatus, type SyncRequestDocument } from '../../requests/request.js';
import { idOf, insertedAt, type RequestView, soundView } from '../../requests/view.js';
import { outcomes } from '../../sync/outcome.js';
import { isStripeId } from '../../sync/ports.js';
import { progressText } from './progress.js';
import { countsTable, errorLines, headline, heldLines } from './summary.js';
import { type Column, count, counted, cut, plain, shortDuration, tableLines, timeText } from './table.js';

export const requestColumns: readonly Column[] = [
  { header: 'ID' },
  { header: 'COMMAND' },
  { header: 'STATUS' },
  { header: 'TRIES', align: 'right', gives: 1 },
  { header: 'AGE', align: 'right' },
  { header: 'TOOK', align: 'right', gives: 2 },
  { header: 'BY', gives: 3 },
  { header: 'RESULT' },
];

const longestBy = 20;

/** Cells for `requestColumns`. `now` is by MongoDB's clock. */
export function requestCells(request: RequestView, now: Date, result = resultText(request, now)): string[] {
  const { command, status = 'pending', attempts = 0 } = request;
  const by = request.requestedBy ?? '';
  const inserted = insertedAt(request);
  return [
    idOf(request),
    command,
    status,
    String(attempts),
    inserted ? shortDuration(secondsBetween(inserted, now)) : '',
    tookText(request, now),
    cut(by, longestBy),
    result,
  ];
}

export const secondsBetween = (from: Date, to: Date): number => (to.getTime() - from.getTime()) / 1_000;

/** The last attempt, or the one that runs. */
function tookText({ status, startedAt, finishedAt }: RequestView, now: Date): string {
  const until = isEndStatus(status) ? finishedAt : status === 'running' ? now : undefined;
  return startedAt && until ? shortDuration(secondsBetween(startedAt, until)) : '';
}

/** What came of it, how far it is, or what it waits for. */
export function resultText(request: RequestView, now: Date): string {
  const { status, dryRun } = request;
  const text = isEndStatus(status)
    ? endText(request)
    : status === 'running'
      ? runningText(request)
      : waitText(request, now);
  return dryRun && text !== '' ? `dry run: ${text}` : text;
}

function runningText(request: RequestView): string {
  const { text, ratio } = progressText([request], undefined);
  const far = ratio === undefined ? '' : `${Math.floor(ratio * 100)} % `;
  const isTold = request.progress !== undefined;
  return [...(request.cancel ? ['to be cancelled'] : []), ...(isTold ? [`${far}${text}`] : [])].join(', ');
}

function waitText(request: RequestView, now: Date): string {
  const { attempts = 0, cancel, runAt, waitsFor, error, history } = request;
  if (cancel) return 'to be cancelled';
  if (waitsFor) return `runs as ${String(waitsFor)}`;
  // A scan that is held says why; of others the last attempt tells.
  const code = error?.code ?? (attempts > 0 ? history?.at(-1)?.error?.code : undefined);
  const after = code === undefined ? '' : ` after ${code}`;
  if (runAt && runAt > now) return `due in ${shortDuration(secondsBetween(now, runAt))}${after}`;
  return after === '' ? '' : `again${after}`;
}

function endText({ error, result, coalescedInto }: RequestView): string {
  const counts = result ? countsText(result) : [];
  const code = error ? [error.cause ? `${error.code} (${error.cause.code})` : error.code] : [];
  const other = coalescedInto ? [`ran as ${String(coalescedInto)}`] : [];
  return [...code, ...counts, ...other].join(', ');
}

/** The counts that are not zero. */
function countsText(result: NonNullable<RequestView['result']>): string[] {
  const held = result.removalsHeld ?? 0;
  const counts = outcomes.flatMap((name) => (result[name] > 0 ? [`${count(result[name])} ${name}`] : []));
  return [...counts, ...(held > 0 ? [`${counted(held, 'removal')} held`] : [])];
}

// A request at length: how it ended, what was asked, when and by whom, its attempts, what became of its customers.
/** `now` is by MongoDB's clock, `width` that of the terminal. */
export function detailText(stored: SyncRequestDocument, now: Date, width?: number): string {
  const request = soundView(stored);
  return [
    ...(isEndStatus(request.status) ? endLines(request) : [openLine(request, now)]),
    '',
    ...factLines(request, stored, now),
    ...historyLines(request, width),
    ...itemLines(request, width),
  ].join('\n');
}

const endLines = (request: RequestView): string[] => [
  headline([request]),
  ...countsTable([request]),
  ...heldLines(request),
  ...errorLines(request, false),
];

function openLine(request: RequestView, now: Date): string {
  const { command, status = 'pending' } = request;
  const text = resultText(request, now);
  return `${command} ${status}${text === '' ? '' : `: ${text}`} (request ${idOf(request)})`;
}

/** A name and a value a line; what is not known is left out. */
function factLines(request: RequestView, stored: SyncRequestDocument, now: Date): string[] {
  const { requestedBy, dedupeKey, maxAttempts, attempts, lease } = request;
  const at = (time: Date | undefined): string | undefined => time && timeAndAge(time, now);
  const facts: [string, string | null | undefined][] = [
    ['asked for', askedText(stored)],
    ['by', requestedBy],
    ['dedupe key', dedupeKey],
    ['inserted', at(insertedAt(request))],
    ['not before', at(request.runAt ?? undefined)],
    ['started', at(request.startedAt)],
    ['finished', at(request.finishedAt)],
    ['attempts', attempts === undefined ? undefined : ofMost(attempts, maxAttempts)],
    ['progress as of', at(isEndStatus(request.status) ? undefined : request.progress?.updatedAt)],
    ['worked on by', lease && `${lease.owner} (fence ${lease.fence})`],
    ['lease until', at(lease?.expiresAt)],
    ['runs as', request.waitsFor && String(request.waitsFor)],
    ['ran as', request.coalescedInto && String(request.coalescedInto)],
    ['kept until', at(isEndStatus(request.status) ? request.expireAt : undefined)],
  ];
  const known = facts.flatMap(([name, value]) => (value ? [[name, value] as const] : []));
  const width = Math.max(...known.map(([name]) => name.length));
  return known.map(([name, value]) => `${name.padEnd(width)}  ${plain(value)}`);
}

const ofMost = (attempts: number, most: number | null | undefined): string =>
  most == null ? count(attempts) : `${count(attempts)} of ${count(most)}`;

/** `2026-01-31 12:00:00Z (3m20s ago)` */
function timeAndAge(time: Date, now: Date): string {
  const seconds = secondsBetween(time, now);
  const age = seconds < 0 ? `in ${shortDuration(-seconds)}` : `${shortDuration(seconds)} ago`;
  return `${timeText(time)} (${age})`;
}

const mostIdsTold = 5;

/** The command with what it is about; of customers ids alone. */
function askedText({ command, ids, batch, stripeId, dryRun, observedAt }: SyncRequestDocument): string {
  const name = typeof command === 'string' ? command : '?';
  const about: unknown = ids ?? batch ?? (stripeId === undefined ? [] : [stripeId]);
  const named = Array.isArray(about) ? about.map(stripeIdOf) : [];
  const told = named.slice(0, mostIdsTold).join(', ');
  const more = named.length > mostIdsTold ? ` and ${count(named.length - mostIdsTold)} more` : '';
  const of = named.length === 0 ? '' : ` of ${counted(named.length, 'customer')}: ${told}${more}`;
  const asOf = observedAt instanceof Date ? `, held to be true at ${timeText(observedAt)}` : '';
  return `${name}${of}${asOf}${dryRun === true ? ', a dry run' : ''}`;
}

function stripeIdOf(entry: unknown): string {
  const id: unknown = typeof entry === 'object' && entry !== null && 'id' in entry ? entry.id : entry;
  return isStripeId(id) ? id : '?';
}

function historyLines(
  { history = [], startedAt, status, attempts = 0 }: RequestView,
  width?: number,
): string[] {
  const rows = history.map(({ attempt, startedAt: from, finishedAt: to, owner, error }) => [
    String(attempt),
    timeText(from),
    shortDuration(secondsBetween(from, to)),
    owner,
    error ? `${error.code}: ${error.message}` : '',
  ]);
  const isRunning = status === 'running' && startedAt !== undefined;
  const running = isRunning ? [[String(attempts), timeText(startedAt), '', '', 'runs']] : [];
  if (rows.length + running.length === 0) return [];
  const columns = [
    { header: 'ATTEMPT', align: 'right' },
    { header: 'STARTED' },
    { header: 'TOOK', align: 'right', gives: 2 },
    { header: 'BY', gives: 3 },
    { header: 'ENDED WITH' },
  ] as const;
  return ['', ...tableLines(columns, [...rows, ...running], width)];
}

const mostItems = 20;

function itemLines({ result }: RequestView, width?: number): string[] {
  const items = result?.items ?? [];
  if (items.length === 0) return [];
  // What failed is what people look for.
  const ordered = [...items].sort((a, b) => Number(b.outcome === 'failed') - Number(a.outcome === 'failed'));
  const shown = ordered.slice(0, mostItems);
  const columns = [{ header: 'CUSTOMER' }, { header: 'OUTCOME' }, { header: 'CODE' }, { header: 'MESSAGE' }];
  const rows = shown.map(({ id, outcome, code = '', message = '' }) => [id, outcome, code, message]);
  const more = items.length - shown.length;
  return [
    '',
    ...tableLines(columns, rows, width),
    ...(more > 0 ? [`and ${count(more)} more, which --json lists`] : []),
  ];
}
