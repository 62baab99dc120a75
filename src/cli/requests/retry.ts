// `requests retry`: has requests that have ended run again.
import { isFault } from '../../base/errors.js';
import { isDuplicateKey, persistently } from '../../mongo/faults.js';
import { type Filter, withoutEnd } from '../../requests/expressions.js';
import { endStatuses, isEndStatus, keyHolders, type RequestId } from '../../requests/request.js';
import { idOf, type RequestView, rowProjection, soundView } from '../../requests/view.js';
import { type ExitCode, Refusal, withinSeconds } from '../faults.js';
import { followHere } from '../follow.js';
import { jsonOf, printEnded, rowOf } from '../screen/summary.js';
import type { Terminal } from '../screen/terminal.js';
import { type Queue, withQueue } from '../session.js';
import { steer, steerEach, type SteerOptions } from './steer.js';

export interface RetryOptions extends SteerOptions {
  /** All that failed, instead of ids. */
  readonly failed?: true;
  readonly command?: string;
  readonly requestedBy?: string;
  readonly since?: Date;
}

export async function retryRequests(
  terminal: Terminal,
  ids: readonly string[],
  options: RetryOptions,
): Promise<ExitCode> {
  const { wait = false, json, timeout } = options;
  return withQueue(terminal, async (queue, signal) => {
    const chosen = options.failed ? await failedIds(queue, options, signal) : ids;
    if (chosen.length === 0) terminal.note(`There are no such requests in ${queue.database}`);
    const { requests, exitCode } = await steerEach(terminal, queue, chosen, signal, (_id) =>
      setBack(queue, _id, signal),
    );
    if (!wait || requests.length === 0) {
      for (const each of requests)
        terminal.result(json ? jsonOf(rowOf(each)) : `${nameOf(each)} waits again`);
      return exitCode;
    }
    for (const each of requests) terminal.note(`${nameOf(each)} waits again`);
    const ended = await withinSeconds(timeout, signal, (limited) =>
      followHere(terminal, queue, {
        ids: requests.map(({ _id }) => _id),
        entries: undefined,
        signal: limited,
        canRunHere: false,
      }),
    );
    return (await printEnded(terminal, queue, ended, json ? { json } : {})) || exitCode;
  });
}

/** Of those that failed, wholly or in part, the oldest first. */
async function failedIds(
  { requests, patienceMs }: Queue,
  { command, requestedBy, since }: RetryOptions,
  signal: AbortSignal,
): Promise<readonly RequestId[]> {
  const failed: Filter = {
    status: { $in: ['failed', 'partial'] },
    ...(command !== undefined && { command: { $eq: command } }),
    ...(requestedBy !== undefined && { requestedBy: { $eq: requestedBy } }),
    ...(since && { finishedAt: { $gte: since } }),
  };
  const read = () => requests.find(failed, { projection: { _id: 1 }, sort: { _id: 1 } }).toArray();
  const found = await persistently('looking for requests', read, { withinMs: patienceMs, signal });
  return found.map(({ _id }) => _id);
}

const nameOf = (request: RequestView): string => `request ${idOf(request)} (${request.command})`;

/** What is left of a batch that succeeded are its ids. */
const isBatchGone = { command: 'syncBatch', 'batch.0': { $type: 'string' } };

/** The daemon resets what is to be reset when it claims it; done here as well, lists and waits do not show a former life. */
const again = [
  // Due now, and not since it was inserted: how long requests wait is measured.
  { $set: { status: 'pending', runAt: '$$NOW' } },
  withoutEnd,
  { $unset: ['attempts', 'cancel'] },
];

async function setBack(queue: Queue, _id: RequestId, signal: AbortSignal): Promise<RequestView> {
  try {
    return await steer(
      queue,
      _id,
      {
        doing: 'setting the request back',
        filter: { status: { $in: endStatuses }, $nor: [isBatchGone] },
        pipeline: again,
        otherwise: (found, wasTried) => {
          if (wasTried && !isEndStatus(found.status)) return found;
          throw refusalOf(found);
        },
      },
      signal,
    );
  } catch (error) {
    if (!isFault(error) || !isDuplicateKey(error.cause)) throw error;
    throw await keyTaken(queue, _id);
  }
}

function refusalOf(found: RequestView): Refusal {
  const id = idOf(found);
  if (!isEndStatus(found.status)) {
    const doing = found.status === 'running' ? 'is running' : 'waits already';
    return new Refusal(`Request ${id} ${doing}: only one that has ended can be retried`);
  }
  return new Refusal(
    `Request ${id} has succeeded, and of its batch the ids alone are left: use sync-by-ids, or sync-batch with the customers`,
  );
}

/** Names the request that holds the key by now. */
async function keyTaken({ requests }: Queue, _id: RequestId): Promise<Refusal> {
  const id = String(_id);
  const own = await requests.findOne({ _id }, { projection: { dedupeKey: 1 } });
  const held: Filter = {
    dedupeKey: { $eq: own?.dedupeKey ?? '' },
    status: { $in: keyHolders },
  };
  const holder = await requests.findOne(
    { ...held, _id: { $ne: _id } },
    { projection: { ...rowProjection, dedupeKey: 1 } },
  );
  const view = holder && soundView(holder);
  const by = view
    ? `request ${idOf(view)} (${view.command}, ${view.status ?? 'pending'})`
    : 'another request';
  return new Refusal(
    `Request ${id} cannot run again: its dedupeKey ${JSON.stringify(own?.dedupeKey)} is held by ${by}`,
  );
}
