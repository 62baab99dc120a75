// A request as one line: age, duration, and either its end, its progress or the reason why it waits.
import { isEndStatus } from '../../requests/request.js';
import { idOf, insertedAt, type RequestView } from '../../requests/view.js';
import { outcomes } from '../../sync/outcome.js';
import {
  type Column,
  count,
  counted,
  cut,
  duration,
  percent,
  secondsBetween,
  shortDuration,
} from './table.js';

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
  const inserted = insertedAt(request);
  return [
    idOf(request),
    command,
    status,
    String(attempts),
    inserted ? shortDuration(secondsBetween(inserted, now)) : '',
    tookText(request, now),
    cut(request.requestedBy ?? '', longestBy),
    result,
  ];
}

/** The last attempt, or the running one. */
function tookText({ status, startedAt, finishedAt }: RequestView, now: Date): string {
  const until = isEndStatus(status) ? finishedAt : status === 'running' ? now : undefined;
  return startedAt && until ? shortDuration(secondsBetween(startedAt, until)) : '';
}

/** Its end, its progress, or the reason why it waits. */
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
  const far = ratio === undefined ? text : `${percent(ratio)} ${text}`;
  return [...(request.cancel ? ['cancelling'] : []), ...(request.progress ? [far] : [])].join(', ');
}

function waitText(request: RequestView, now: Date): string {
  const { attempts = 0, cancel, runAt, waitsFor, error, history } = request;
  if (cancel) return 'cancelling';
  if (waitsFor) return `runs as ${String(waitsFor)}`;
  // A held scan has its reason in `error`; any other request has it in its last attempt.
  const code = error?.code ?? (attempts > 0 ? history?.at(-1)?.error?.code : undefined);
  const after = code === undefined ? '' : ` after ${code}`;
  if (runAt && runAt > now) return `due in ${shortDuration(secondsBetween(now, runAt))}${after}`;
  return after === '' ? '' : `retrying${after}`;
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

/** How far requests are, in words and as a ratio. */
export interface ProgressText {
  readonly text: string;
  /** 0 to 1; undefined while it is not known. */
  readonly ratio: number | undefined;
}

/** `entries`: how many ids or customers the requests have in all; undefined for a scan. */
export function progressText(requests: readonly RequestView[], entries: number | undefined): ProgressText {
  const done = requests.reduce((sum, request) => sum + doneOf(request), 0);
  const ended = requests.filter(({ status }) => isEndStatus(status)).length;
  const total = entries ?? sumOf(requests.map(({ progress }) => progress?.estimated));
  const ratio = entries === undefined ? requests[0]?.progress?.ratio : done / entries;
  const isUnderWay = ended > 0 || requests.some(({ status, progress }) => status === 'running' && progress);

  const ofTotal = total === undefined ? '' : ` of ${entries === undefined ? 'about ' : ''}${count(total)}`;
  const parts = [
    ...(requests.length > 1 ? [`${count(ended)} of ${count(requests.length)} requests`] : []),
    isUnderWay ? `${count(done)}${ofTotal}` : stateText(requests),
    ...speedText(requests),
  ];
  return { text: parts.join(', '), ratio: isUnderWay ? ratio : undefined };
}

/** Objects that a request has processed. */
function doneOf({ status, progress, result }: RequestView): number {
  if (isEndStatus(status) && result) return outcomes.reduce((sum, outcome) => sum + result[outcome], 0);
  return progress?.done ?? 0;
}

function sumOf(numbers: readonly (number | undefined)[]): number | undefined {
  const known = numbers.filter((number) => number !== undefined);
  return known.length > 0 ? known.reduce((sum, number) => sum + number, 0) : undefined;
}

function stateText(requests: readonly RequestView[]): string {
  if (requests.some(({ status }) => status === 'running')) return 'running';
  const again = requests.find(({ attempts = 0 }) => attempts > 0);
  if (!again) return 'waiting';
  const code = again.history?.at(-1)?.error?.code;
  return `attempt ${again.attempts ?? 0} failed${code ? ` (${code})` : ''}, waiting to retry`;
}

/** Progress of the running requests. The remaining time is known only for a single one. */
function speedText(requests: readonly RequestView[]): string[] {
  const running = requests.filter(({ status }) => status === 'running');
  const perSecond = sumOf(running.map(({ progress }) => progress?.perSecond));
  const etaSeconds = requests.length === 1 ? running[0]?.progress?.etaSeconds : undefined;
  return [
    ...(perSecond === undefined ? [] : [`${count(Math.round(perSecond))}/s`]),
    ...(etaSeconds ? [`${duration(etaSeconds)} left`] : []),
  ];
}
