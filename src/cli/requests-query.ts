// What lists of requests ask MongoDB for. Every question goes along an index: by `_id` from the newest, or by status and command.
import type { mongo } from 'mongoose';
import { requestedByCron, requestStatuses, type RequestStatus } from '../requests/document.js';
import type { Filter } from '../requests/expressions.js';
import { rowProjection } from './request-view.js';

export interface Wanted {
  /** Empty: any. */
  readonly statuses: readonly RequestStatus[];
  readonly command: string | undefined;
  readonly requestedBy: string | undefined;
  /** With the successes of cron's requests. */
  readonly all: boolean;
}

/** Requests that are looked at for one `requestedBy`, which no index knows. */
export const mostLookedAt = 10_000;

const cronSuccesses: readonly RequestStatus[] = ['succeeded', 'coalesced'];

/** Cron's successes: they come every day, and tell nothing. */
export const withoutCron: Filter = {
  $nor: [{ requestedBy: requestedByCron, status: { $in: cronSuccesses } }],
};

/** Whether successes of cron's are left out: not for whoever asks for cron's. */
const isCronHidden = ({ all, requestedBy }: Wanted): boolean => !all && requestedBy !== requestedByCron;

/** Whether what is left out could be among what is asked for. */
export const mayBeHidden = (wanted: Wanted): boolean =>
  isCronHidden(wanted) &&
  (wanted.statuses.length === 0 || wanted.statuses.some((status) => cronSuccesses.includes(status)));

/** What is asked for, whoever asked for it. */
export const wantedOfAll = (wanted: Wanted): Filter => ({
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
