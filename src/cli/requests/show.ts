// `requests show`: everything about one request, for a person or as JSON.
import { isEndStatus, type SyncRequestDocument } from '../../requests/request.js';
import { idOf, insertedAt, type RequestView, soundView } from '../../requests/view.js';
import { isStripeId } from '../../sync/ports.js';
import { type ExitCode, exitCodes } from '../faults.js';
import { resultText } from '../screen/request-text.js';
import { countsTable, errorLines, headline, heldLines, requestJson } from '../screen/summary.js';
import {
  alignedFacts,
  count,
  counted,
  type Fact,
  secondsBetween,
  shortDuration,
  tableLines,
  timeText,
} from '../screen/table.js';
import type { Terminal } from '../screen/terminal.js';
import { withSession } from '../session.js';
import { checkedRequestId, findRequestId, missingRequest } from '../typed-ids.js';

export async function showRequest(
  terminal: Terminal,
  typed: string,
  { json }: { readonly json?: true },
): Promise<ExitCode> {
  const id = checkedRequestId(typed);
  return withSession(terminal, async (session) => {
    const _id = await findRequestId(session, id);
    const found = await session.persist('reading the request', () => session.requests.findOne({ _id }));
    if (!found) throw missingRequest(id, session);
    const { screen } = terminal;
    terminal.result(json ? requestJson(found) : detailText(found, await session.now(), screen?.columns));
    return exitCodes.succeeded;
  });
}

/** `now` is by MongoDB's clock, `width` that of the terminal. */
function detailText(stored: SyncRequestDocument, now: Date, width?: number): string {
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

function factLines(request: RequestView, stored: SyncRequestDocument, now: Date): readonly string[] {
  const { requestedBy, dedupeKey, maxAttempts, attempts, lease } = request;
  const at = (time: Date | undefined): string | undefined => time && timeAndAge(time, now);
  const facts: readonly Fact[] = [
    ['asked for', askedText(stored)],
    ['by', requestedBy],
    ['dedupe key', dedupeKey],
    ['inserted', at(insertedAt(request))],
    ['not before', at(request.runAt ?? undefined)],
    ['started', at(request.startedAt)],
    ['finished', at(request.finishedAt)],
    ['attempts', attempts === undefined ? undefined : ofMost(attempts, maxAttempts)],
    ['progress as of', at(isEndStatus(request.status) ? undefined : request.progress?.updatedAt)],
    ['lease holder', lease && `${lease.owner} (fence ${lease.fence})`],
    ['lease until', at(lease?.expiresAt)],
    ['runs as', request.waitsFor && String(request.waitsFor)],
    ['ran as', request.coalescedInto && String(request.coalescedInto)],
    ['kept until', at(isEndStatus(request.status) ? request.expireAt : undefined)],
  ];
  return alignedFacts(facts);
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

/** The command and its subject; of customers only the ids. */
function askedText({ command, ids, batch, stripeId, dryRun, observedAt }: SyncRequestDocument): string {
  const name = typeof command === 'string' ? command : '?';
  const about: unknown = ids ?? batch ?? (stripeId === undefined ? [] : [stripeId]);
  const named = Array.isArray(about) ? about.map(stripeIdOf) : [];
  const told = named.slice(0, mostIdsTold).join(', ');
  const more = named.length > mostIdsTold ? ` and ${count(named.length - mostIdsTold)} more` : '';
  const of = named.length === 0 ? '' : ` of ${counted(named.length, 'customer')}: ${told}${more}`;
  const asOf = observedAt instanceof Date ? `, observed at ${timeText(observedAt)}` : '';
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
  const running = isRunning ? [[String(attempts), timeText(startedAt), '', '', 'running']] : [];
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
  // Failed items come first: users look for them.
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
