// `requests watch`: what runs, waits and ends, as it changes; with an id that request alone, until it has ended.
import { idOf, type RequestView, soundView } from '../../requests/view.js';
import { type ExitCode, exitCodes, Interrupted } from '../faults.js';
import { followHere, followToEnd } from '../follow.js';
import { requestCells, requestColumns, resultText } from '../screen/request-text.js';
import { endCode, jsonOf, printEnded, rowOf } from '../screen/summary.js';
import { count, tableLines, timeText } from '../screen/table.js';
import { LiveDisplay, type Screen, type Terminal } from '../screen/terminal.js';
import { databaseTime, type Queue, withQueue } from '../session.js';
import { findRequestId } from '../typed-ids.js';
import { type Board, watchBoard } from './board.js';

export interface WatchOptions {
  readonly all?: true;
  readonly json?: true;
}

export async function watchRequests(
  terminal: Terminal,
  id: string | undefined,
  options: WatchOptions,
): Promise<ExitCode> {
  try {
    return await withQueue(terminal, (queue, signal) =>
      id === undefined
        ? watchAll(terminal, queue, options, signal)
        : watchOne(terminal, queue, id, options, signal),
    );
  } catch (error) {
    // Ctrl-C is how one stops watching.
    if (error instanceof Interrupted && error.isCtrlC) return exitCodes.succeeded;
    throw error;
  }
}

async function watchOne(
  terminal: Terminal,
  queue: Queue,
  id: string,
  { json }: WatchOptions,
  signal: AbortSignal,
): Promise<ExitCode> {
  const { requests, patienceMs } = queue;
  const _id = await findRequestId(queue, id, signal);
  if (!json) {
    const following = { ids: [_id], entries: undefined, signal, canRunHere: false };
    return printEnded(terminal, queue, await followHere(terminal, queue, following), {});
  }
  let last = '';
  const onLook = async (seen: readonly RequestView[]): Promise<void> => {
    for (const request of seen) {
      const line = lineOf(soundView(request));
      if (line !== last) terminal.result(line);
      last = line;
    }
  };
  return endCode(await followToEnd(requests, [_id], { signal, patienceMs, onLook }));
}

/** Without the lease, whose renewal is no change. */
const lineOf = ({ lease: _, ...request }: RequestView): string => jsonOf(rowOf(request));

async function watchAll(
  terminal: Terminal,
  { requests, db, database, patienceMs }: Queue,
  options: WatchOptions,
  signal: AbortSignal,
): Promise<never> {
  const { json } = options;
  const all = options.all === true;
  const aheadMs = (await databaseTime(db)).getTime() - Date.now();
  const now = (): Date => new Date(Date.now() + aheadMs);
  const { screen } = terminal;
  if (json || !screen) {
    const onLook = ({ changed }: Board): void => {
      for (const each of changed) terminal.result(json ? lineOf(each) : changeText(each, now()));
    };
    return watchBoard({ requests, all, signal, patienceMs, onLook });
  }
  const display = new LiveDisplay(terminal, screen);
  try {
    const onLook = (board: Board): void => display.draw(boardLines(board, { database, now: now(), screen }));
    return await watchBoard({ requests, all, signal, patienceMs, onLook });
  } finally {
    display.end();
  }
}

/** One change as one line. */
function changeText(request: RequestView, now: Date): string {
  const { command, status = 'pending' } = request;
  const result = resultText(request, now);
  return [timeText(now), idOf(request), command, status, ...(result === '' ? [] : [result])].join('  ');
}

interface Frame {
  readonly database: string;
  readonly now: Date;
  readonly screen: Pick<Screen, 'columns'>;
}

function boardLines(
  { running, waiting, waitingCount, ended }: Board,
  { database, now, screen }: Frame,
): string[] {
  const title = `${database}: ${count(running.length)} running, ${count(waitingCount)} waiting`;
  const rows = [
    ...running.map((request) => requestCells(request, now, barText(request, now))),
    ...[...waiting, ...ended].map((request) => requestCells(request, now)),
  ];
  const unseen = waitingCount - waiting.length;
  const lines = rows.length > 0 ? tableLines(requestColumns, rows, screen.columns - 1) : ['no requests'];
  const more = unseen > 0 ? [`and ${count(unseen)} more waiting`] : [];
  const at = 1 + running.length + waiting.length;
  return [
    `${title}   ${timeText(now)}   Ctrl-C ends`,
    '',
    ...lines.slice(0, at),
    ...more,
    ...lines.slice(at),
  ];
}

const barLength = 10;

/** What runs, with a bar where it is known how far it is. */
function barText(request: RequestView, now: Date): string {
  const text = resultText(request, now);
  const ratio = request.progress?.ratio;
  if (ratio === undefined) return text;
  const done = Math.max(0, Math.min(barLength, Math.round(ratio * barLength)));
  return `${'█'.repeat(done)}${'░'.repeat(barLength - done)} ${text}`;
}
