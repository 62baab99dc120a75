// `requests list`: one line per request, newest first. Queries use the index on `_id`, or on status and
// command.
import type { mongo } from 'mongoose';
import type { Filter } from '../../requests/expressions.js';
import { requestedByCron, type RequestStatus, requestStatuses } from '../../requests/request.js';
import { rowProjection, soundView } from '../../requests/view.js';
import { type ExitCode, exitCodes } from '../faults.js';
import { requestCells, requestColumns } from '../screen/request-text.js';
import { jsonOf, rowOf } from '../screen/summary.js';
import { count, tableLines } from '../screen/table.js';
import type { Terminal } from '../screen/terminal.js';
import { type Session, withSession } from '../session.js';

/** Criteria of the list. */
export interface Wanted {
  /** Undefined matches any. */
  readonly status?: readonly RequestStatus[];
  readonly command?: string;
  readonly requestedBy?: string;
  /** Whether to include scheduled requests that succeeded. */
  readonly all?: boolean;
}

export interface ListOptions extends Wanted {
  readonly failed?: true;
  readonly limit: number;
  readonly json?: true;
}

export const listRequests = (terminal: Terminal, options: ListOptions): Promise<ExitCode> =>
  withSession(terminal, async (session) => {
    const { limit, json, failed } = options;
    const wanted: Wanted = failed ? { ...options, status: ['failed', 'partial'] } : options;
    // One more than is shown: it tells whether there are more.
    const found = await session.persist('listing requests', () =>
      session.requests.aggregate<{ readonly _id: unknown }>(newestFirst(wanted, limit + 1)).toArray(),
    );
    const shown = found.slice(0, limit).map(soundView);
    if (json) {
      terminal.result(jsonOf(shown.map(rowOf)));
      return exitCodes.succeeded;
    }
    if (shown.length > 0) {
      const now = await session.now();
      const rows = shown.map((request) => requestCells(request, now));
      terminal.result(tableLines(requestColumns, rows, terminal.screen?.columns).join('\n'));
    }
    for (const note of await notesOf(session, wanted, found.length, limit)) terminal.note(note);
    return exitCodes.succeeded;
  });

/** The note on requests that the list hides. */
async function notesOf(
  { requests }: Session,
  wanted: Wanted,
  found: number,
  limit: number,
): Promise<readonly string[]> {
  const isCronHidden = mayBeHidden(wanted);
  const notes: string[] = [];
  if (found === 0) {
    const hint = isCronHidden ? ' (--all includes successful requests of cron)' : '';
    notes.push(`No matching requests in ${requests.dbName}${hint}`);
  } else if (isCronHidden && wanted.status) {
    notes.push('Successful requests of cron are left out; --all includes them');
  }
  if (found > limit) notes.push(`There are more than ${limit}; a higher --limit shows them`);
  else if (wanted.requestedBy !== undefined) {
    const searched = await requests.countDocuments(wantedOfAll(wanted), { limit: mostSearched + 1 });
    const most = count(mostSearched);
    if (searched > mostSearched) notes.push(`Searched only the newest ${most} for --requested-by`);
  }
  return notes;
}

/** Maximum number of requests to search for a `requestedBy`, which no index covers. */
const mostSearched = 10_000;

const cronSuccesses: readonly RequestStatus[] = ['succeeded', 'coalesced'];

/** Scheduled requests that succeeded come every day and carry no news. */
export const withoutCron: Filter = {
  $nor: [{ requestedBy: requestedByCron, status: { $in: cronSuccesses } }],
};

/** A user who asks for scheduled requests gets the successful ones too. */
const isCronHidden = ({ all, requestedBy }: Wanted): boolean => !all && requestedBy !== requestedByCron;

/** Whether hidden requests could match. */
const mayBeHidden = (wanted: Wanted): boolean =>
  isCronHidden(wanted) && (wanted.status?.some((status) => cronSuccesses.includes(status)) ?? true);

/** All criteria but `requestedBy`. */
const wantedOfAll = (wanted: Wanted): Filter => ({
  ...ofStatus(wanted),
  ...(isCronHidden(wanted) && withoutCron),
});

/** Aggregates the newest matching requests, at most `limit`. */
export function newestFirst(wanted: Wanted, limit: number): mongo.Document[] {
  const { requestedBy } = wanted;
  const ofRequester =
    requestedBy === undefined
      ? []
      : [{ $limit: mostSearched }, { $match: { requestedBy: { $eq: requestedBy } } }];
  return [
    { $match: wantedOfAll(wanted) },
    { $sort: { _id: -1 } },
    ...ofRequester,
    { $limit: limit },
    { $project: rowProjection },
  ];
}

/** A command is matched together with all statuses: the index begins with the status. */
function ofStatus({ status, command }: Wanted): Filter {
  const statuses = status ?? (command === undefined ? undefined : requestStatuses);
  return {
    // A request without a status is pending.
    ...(statuses && { status: { $in: statuses.includes('pending') ? [...statuses, null] : statuses } }),
    ...(command !== undefined && { command: { $eq: command } }),
  };
}
