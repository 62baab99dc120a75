// `requests list`: a line a request, the newest first.
import type { mongo } from 'mongoose';
import { persistently } from '../../mongo/faults.js';
import type { Filter } from '../../requests/expressions.js';
import {
  type RequestCollection,
  requestedByCron,
  type RequestStatus,
  requestStatuses,
} from '../../requests/request.js';
import { rowProjection, soundView } from '../../requests/view.js';
import { type ExitCode, exitCodes } from '../faults.js';
import { requestCells, requestColumns } from '../screen/request-text.js';
import { jsonOf, rowOf } from '../screen/summary.js';
import { count, tableLines } from '../screen/table.js';
import type { Terminal } from '../screen/terminal.js';
import { databaseTime, withQueue } from '../session.js';

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

// What lists of requests ask MongoDB for. Every question goes along an index: by `_id` from the newest, or by status and command.
export interface Wanted {
  /** Empty: any. */
  readonly statuses: readonly RequestStatus[];
  readonly command: string | undefined;
  readonly requestedBy: string | undefined;
  /** With the successes of cron's requests. */
  readonly all: boolean;
}

/** Requests that are looked at for one `requestedBy`, which no index knows. */
const mostLookedAt = 10_000;

const cronSuccesses: readonly RequestStatus[] = ['succeeded', 'coalesced'];

/** Cron's successes: they come every day, and tell nothing. */
export const withoutCron: Filter = {
  $nor: [{ requestedBy: requestedByCron, status: { $in: cronSuccesses } }],
};

/** Whether successes of cron's are left out: not for whoever asks for cron's. */
const isCronHidden = ({ all, requestedBy }: Wanted): boolean => !all && requestedBy !== requestedByCron;

/** Whether what is left out could be among what is asked for. */
const mayBeHidden = (wanted: Wanted): boolean =>
  isCronHidden(wanted) &&
  (wanted.statuses.length === 0 || wanted.statuses.some((status) => cronSuccesses.includes(status)));

/** What is asked for, whoever asked for it. */
const wantedOfAll = (wanted: Wanted): Filter => ({
  ...ofStatus(wanted),
  ...(isCronHidden(wanted) && withoutCron),
});

/** The newest that are wanted, at most `limit`. */
export function newestFirst(wanted: Wanted, limit: number): mongo.Document[] {
  const { requestedBy } = wanted;
  const sort = { $sort: { _id: -1 } };
  const found = { $match: wantedOfAll(wanted) };
  const some =
    requestedBy === undefined
      ? [{ $limit: limit }]
      : [{ $limit: mostLookedAt }, { $match: { requestedBy: { $eq: requestedBy } } }, { $limit: limit }];
  return [found, sort, ...some, { $project: rowProjection }];
}

/** A command is asked for together with all statuses, for the index begins with these. */
function ofStatus({ statuses, command }: Wanted): Filter {
  const asked = statuses.length > 0 || command === undefined ? statuses : requestStatuses;
  return {
    ...(asked.length > 0 && { status: { $in: asked.flatMap((status) => stored(status)) } }),
    ...(command !== undefined && { command: { $eq: command } }),
  };
}

/** A request without a status waits. */
const stored = (status: RequestStatus): (RequestStatus | null)[] =>
  status === 'pending' ? [status, null] : [status];
