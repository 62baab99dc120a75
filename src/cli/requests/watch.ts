// `requests watch`: running, waiting and finished requests as they change; with an id that request alone,
// until it has ended.
import { idOf, type RequestView, soundView } from '../../requests/view.js';
import { type ExitCode, exitCodes, Interrupted } from '../faults.js';
import { follow, followToEnd } from '../follow.js';
import { requestCells, requestColumns, resultText } from '../screen/request-text.js';
import { endCode, jsonOf, printEnded, rowOf } from '../screen/summary.js';
import { count, tableLines, timeText } from '../screen/table.js';
import { LiveDisplay, type Terminal } from '../screen/terminal.js';
import { type Session, withSession } from '../session.js';
import { checkedRequestId, findRequestId } from '../typed-ids.js';
import { type Board, watchBoard } from './board.js';

export interface WatchOptions {
  readonly all?: true;
  readonly json?: true;
}

export async function watchRequests(
  terminal: Terminal,
  typed: string | undefined,
  options: WatchOptions,
): Promise<ExitCode> {
  const id = typed === undefined ? undefined : checkedRequestId(typed);
  try {
    return await withSession(terminal, (session) =>
      id === undefined ? watchAll(session, options) : watchOne(session, id, options),
    );
  } catch (error) {
    // Ctrl-C is the way to stop watching.
    if (error instanceof Interrupted && error.isCtrlC) return exitCodes.succeeded;
    throw error;
  }
}

async function watchOne(session: Session, id: string, { json }: WatchOptions): Promise<ExitCode> {
  const ids = [await findRequestId(session, id)];
  if (!json) return printEnded(session, await follow(session, { ids }), json);
  let last = '';
  const onLook = async (seen: readonly RequestView[]): Promise<void> => {
    for (const request of seen) {
      const line = lineOf(soundView(request));
      if (line !== last) session.terminal.result(line);
      last = line;
    }
  };
  return endCode(await followToEnd(session.requests, ids, { ...session, onLook }));
}

/** Without the lease, because its renewal is not a change worth showing. */
const lineOf = ({ lease: _, ...request }: RequestView): string => jsonOf(rowOf(request));

async function watchAll(session: Session, { json, all }: WatchOptions): Promise<never> {
  const { terminal, requests } = session;
  const { screen } = terminal;
  const aheadMs = (await session.now()).getTime() - Date.now();
  const now = (): Date => new Date(Date.now() + aheadMs);
  if (json || !screen) {
    return watchBoard(session, all === true, ({ changed }) => {
      for (const each of changed) terminal.result(json ? lineOf(each) : changeText(each, now()));
    });
  }
  const display = new LiveDisplay(terminal, screen);
  try {
    return await watchBoard(session, all === true, (board) => {
      display.draw(boardLines(board, requests.dbName, now(), screen.columns));
    });
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

function boardLines(board: Board, database: string, now: Date, columns: number): string[] {
  const { running, waiting, waitingCount, ended } = board;
  const title = `${database}: ${count(running.length)} running, ${count(waitingCount)} waiting`;
  const rows = [
    ...running.map((request) => requestCells(request, now, barText(request, now))),
    ...[...waiting, ...ended].map((request) => requestCells(request, now)),
  ];
  const unseen = waitingCount - waiting.length;
  const lines = rows.length > 0 ? tableLines(requestColumns, rows, columns - 1) : ['no requests'];
  const more = unseen > 0 ? [`and ${count(unseen)} more waiting`] : [];
  const at = 1 + running.length + waiting.length;
  const open = [...lines.slice(0, at), ...more];
  return [`${title}   ${timeText(now)}   Ctrl-C to quit`, '', ...open, ...lines.slice(at)];
}

const barLength = 10;

/** A running request, with a bar where its ratio is known. */
function barText(request: RequestView, now: Date): string {
  const text = resultText(request, now);
  const ratio = request.progress?.ratio;
  if (ratio === undefined) return text;
  const done = Math.max(0, Math.min(barLength, Math.round(ratio * barLength)));
  return `${'█'.repeat(done)}${'░'.repeat(barLength - done)} ${text}`;
}
