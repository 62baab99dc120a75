// The backlog: how many requests are due, and since when the oldest is due. Metrics and the command line
// share these queries. Every query uses the index `claim`.
import type { mongo } from 'mongoose';
import { commandNames } from './commands.js';
import { dueAt, type Filter, isPending } from './expressions.js';

/** The collection, whatever its documents' type. */
interface Requests {
  aggregate<T extends mongo.BSON.Document>(pipeline: mongo.BSON.Document[]): { toArray(): Promise<T[]> };
  countDocuments(filter: Filter): Promise<number>;
}

/** Commands that only another version knows belong to the backlog of that version. */
const isOurs: Filter = { ...isPending, command: { $in: commandNames } };
const isPrompt: Filter = { ...isOurs, runAt: null };
const isDueLater: Filter = {
  ...isOurs,
  $expr: { $and: [{ $gt: ['$runAt', null] }, { $lte: ['$runAt', '$$NOW'] }] },
};

/** Index order only approximates waiting order: the oldest is picked from the first 100 of each kind. */
const lookedAt = 100;

/**
 * Since when the oldest claimable request has been due; undefined if there is none or its time is unknown.
 * @throws what the driver throws
 */
export async function oldestDueAt(requests: Requests): Promise<Date | undefined> {
  const isTelling = { $or: [{ _id: { $type: 'objectId' } }, { createdAt: { $type: 'date' } }] };
  // A scan on whose behalf another one runs counts as running.
  const among = (filter: Filter, sort: Record<string, 1>) =>
    requests
      .aggregate<{ since: Date }>([
        { $match: { ...filter, ...isTelling, waitsFor: null } },
        { $sort: sort },
        { $limit: lookedAt },
        { $group: { _id: null, since: { $min: dueAt } } },
      ])
      .toArray();
  const found = await Promise.all([among(isPrompt, { _id: 1 }), among(isDueLater, { runAt: 1, _id: 1 })]);
  const [first] = found.flat().sort((a, b) => a.since.getTime() - b.since.getTime());
  return first?.since;
}

/** How many could be claimed. @throws what the driver throws */
export async function countDue(requests: Requests): Promise<number> {
  const [prompt, later, joined] = await Promise.all([
    requests.countDocuments(isPrompt),
    requests.countDocuments(isDueLater),
    requests.countDocuments({ ...isPrompt, command: 'syncAll', waitsFor: { $ne: null } }),
  ]);
  return prompt + later - joined;
}
