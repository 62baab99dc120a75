// `requests list`: a line a request, the newest first.
import { persistently } from '../mongo-faults.js';
import type { RequestStatus } from '../requests/document.js';
import { exitCodes, type ExitCode } from './exit-code.js';
import type { RequestCollection } from './follow.js';
import { requestCells, requestColumns } from './request-row.js';
import { soundView } from './request-view.js';
import { mayBeHidden, mostLookedAt, newestFirst, type Wanted, wantedOfAll } from './requests-query.js';
import { jsonOf, rowOf } from './summary.js';
import { tableLines } from './table.js';
import type { Terminal } from './terminal.js';
import { databaseTime, withQueue } from './with-queue.js';
import { count } from './wording.js';

export interface ListOptions {
  readonly status?: readonly RequestStatus[];
  readonly failed?: true;
  readonly command?: string;
  readonly requestedBy?: string;
  readonly limit: number;
  readonly all?: true;
  readonly json?: true;
}

export async function listRequests(terminal: Terminal, options: ListOptions): Promise<ExitCode> {
  const { limit, json, requestedBy } = options;
  const statuses = options.failed ? (['failed', 'partial'] as const) : (options.status ?? []);
  const wanted = { statuses, command: options.command, requestedBy, all: options.all === true };
  return withQueue(terminal, async ({ requests, db, database, patienceMs }, signal) => {
    // One more than is shown tells whether there are more.
    const read = () => requests.aggregate<Row>(newestFirst(wanted, limit + 1)).toArray();
    const found = await persistently('listing requests', read, { withinMs: patienceMs, signal });
    const shown = found.slice(0, limit).map(soundView);
    if (json) {
      terminal.result(jsonOf(shown.map(rowOf)));
    } else if (shown.length > 0) {
      const now = await databaseTime(db);
      const rows = shown.map((request) => requestCells(request, now));
      terminal.result(tableLines(requestColumns, rows, terminal.screen?.columns).join('\n'));
    }
    if (json) return exitCodes.succeeded;
    const hidden = mayBeHidden(wanted) ? ' (--all shows the successes of cron too)' : '';
    if (shown.length === 0) terminal.note(`There are no such requests in ${database}${hidden}`);
    else if (hidden !== '' && statuses.length > 0) terminal.note('Without the successes of cron: --all');
    if (found.length > limit) terminal.note(`There are more: --limit shows more than ${limit}`);
    else if (requestedBy !== undefined && (await isBounded(requests, wanted))) {
      terminal.note(`Looked at no more than the newest ${count(mostLookedAt)} for --requested-by`);
    }
    return exitCodes.succeeded;
  });
}

interface Row {
  readonly _id: unknown;
}

/** Whether there are more than are looked at for one `requestedBy`. */
const isBounded = async (requests: RequestCollection, wanted: Wanted): Promise<boolean> =>
  (await requests.countDocuments(wantedOfAll(wanted), { limit: mostLookedAt + 1 })) > mostLookedAt;
