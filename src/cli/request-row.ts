// A request as one line: how old it is, how long it took, what came of it or what it waits for.
import { isEndStatus } from '../requests/document.js';
import { outcomes } from '../sync/outcome.js';
import type { RequestView } from './follow.js';
import { progressText } from './progress-text.js';
import { idOf, insertedAt } from './request-view.js';
import { type Column, cut } from './table.js';
import { count, counted, shortDuration } from './wording.js';

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
