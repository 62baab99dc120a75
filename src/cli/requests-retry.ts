// `requests retry`: has requests that have ended run again.
import { type mongo } from 'mongoose';
import { isFault } from '../errors.js';
import { isDuplicateKey } from '../mongo-faults.js';
import { endStatuses, isEndStatus } from '../requests/document.js';
import { withoutEnd } from '../requests/expressions.js';
import { type ExitCode } from './exit-code.js';
import { followHere } from './follow-here.js';
import type { RequestView } from './follow.js';
import { withinSeconds } from './interruption.js';
import type { Queue } from './open-queue.js';
import { printEnded } from './print-ended.js';
import { Refusal } from './refusal.js';
import { idOf, rowProjection, soundView } from './request-view.js';
import { steer, steerEach, type SteerOptions } from './requests-steer.js';
import { jsonOf, rowOf } from './summary.js';
import type { Terminal } from './terminal.js';
import { withQueue } from './with-queue.js';

export async function retryRequests(
  terminal: Terminal,
  ids: readonly string[],
  { wait = false, json, timeout }: SteerOptions,
): Promise<ExitCode> {
  return withQueue(terminal, async (queue, signal) => {
    const { requests, exitCode } = await steerEach(terminal, ids, (_id) => setBack(queue, _id, signal));
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

async function setBack(queue: Queue, _id: mongo.ObjectId, signal: AbortSignal): Promise<RequestView> {
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
async function keyTaken({ requests }: Queue, _id: mongo.ObjectId): Promise<Refusal> {
  const id = _id.toHexString();
  const own = await requests.findOne({ _id }, { projection: { dedupeKey: 1 } });
  const held = {
    dedupeKey: { $eq: own?.dedupeKey ?? '' },
    status: { $nin: ['failed', 'cancelled'] as const },
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
