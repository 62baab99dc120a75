// `requests retry`: requeues requests that have ended.
import { isFault } from '../../base/errors.js';
import { isDuplicateKey } from '../../mongo/faults.js';
import { requireOurRequests } from '../../ownership.js';
import { type Filter, withoutEnd } from '../../requests/expressions.js';
import { endStatuses, isEndStatus, keyHolders, type RequestId } from '../../requests/request.js';
import { idOf, type RequestView, rowProjection, soundView } from '../../requests/view.js';
import { type ExitCode, exitCodes, Refusal, UsageFault } from '../faults.js';
import { endCode } from '../screen/summary.js';
import type { Terminal } from '../screen/terminal.js';
import { type Session, withSession } from '../session.js';
import { checkedRequestIds } from '../typed-ids.js';
import { steer, steerAll, type SteerOptions } from './steer.js';

export interface RetryOptions extends SteerOptions {
  /** All that failed, instead of ids. */
  readonly failed?: true;
  readonly command?: string;
  readonly requestedBy?: string;
  readonly since?: Date;
}

export async function retryRequests(
  terminal: Terminal,
  typed: readonly string[],
  options: RetryOptions,
): Promise<ExitCode> {
  const ids = checkedRequestIds(typed);
  refuseMixed(ids, options);
  return withSession(terminal, async (session) => {
    await requireOurRequests(session.database);
    const chosen = options.failed ? await failedIds(session, options) : ids;
    if (chosen.length === 0) terminal.note(`No matching requests in ${session.requests.dbName}`);
    return steerAll(session, chosen, options, {
      step: (_id) => requeue(session, _id),
      told: () => 'is queued again',
      isDone: (ended) => endCode(ended) === exitCodes.succeeded,
      whenLeft: 'No longer followed; the requests stay queued',
    });
  });
}

/** @throws UsageFault */
function refuseMixed(ids: readonly string[], { failed, ...filters }: RetryOptions): void {
  const given = [filters.command, filters.requestedBy, filters.since].some((filter) => filter !== undefined);
  const isEither = failed ? ids.length === 0 : ids.length > 0 && !given;
  if (isEither) return;
  throw new UsageFault(['Give either ids, or --failed, which --command, --requested-by and --since narrow']);
}

/** Of failed and partial requests, the oldest first. */
async function failedIds(
  { requests, persist }: Session,
  { command, requestedBy, since }: RetryOptions,
): Promise<readonly RequestId[]> {
  const failed: Filter = {
    status: { $in: ['failed', 'partial'] },
    ...(command !== undefined && { command: { $eq: command } }),
    ...(requestedBy !== undefined && { requestedBy: { $eq: requestedBy } }),
    ...(since && { finishedAt: { $gte: since } }),
  };
  const found = await persist('looking for requests', () =>
    requests.find(failed, { projection: { _id: 1 }, sort: { _id: 1 } }).toArray(),
  );
  return found.map(({ _id }) => _id);
}

/** The batch of a succeeded request has been reduced to ids. */
const isBatchGone = { command: 'syncBatch', 'batch.0': { $type: 'string' } };

/**
 * The claim clears the fields of the previous run. Clearing them here too hides them from lists and waits
 * until then.
 */
const again = [
  // Due now instead of at insertion, because the waiting time of requests is measured.
  { $set: { status: 'pending', runAt: '$$NOW' } },
  withoutEnd,
  { $unset: ['attempts', 'cancel'] },
];

async function requeue(session: Session, _id: RequestId): Promise<RequestView> {
  try {
    return await steer(session, _id, {
      doing: 'requeuing the request',
      filter: { status: { $in: endStatuses }, $nor: [isBatchGone] },
      pipeline: again,
      otherwise: (found, wasTried) => {
        if (wasTried && !isEndStatus(found.status)) return found;
        throw refusalOf(found);
      },
    });
  } catch (error) {
    if (!isFault(error) || !isDuplicateKey(error.cause)) throw error;
    throw await keyTaken(session, _id);
  }
}

function refusalOf(found: RequestView): Refusal {
  const id = idOf(found);
  if (isEndStatus(found.status)) {
    return new Refusal(
      `Request ${id} has succeeded and keeps only the ids of its batch: use sync-by-ids, or sync-batch with the customers`,
    );
  }
  const doing = found.status === 'running' ? 'is running' : 'is already waiting';
  return new Refusal(`Request ${id} ${doing}: only a request that has ended can be retried`);
}

/** Names the request that now holds the key. */
async function keyTaken({ requests }: Session, _id: RequestId): Promise<Refusal> {
  const own = await requests.findOne({ _id }, { projection: { dedupeKey: 1 } });
  const key = own?.dedupeKey ?? '';
  const held: Filter = { dedupeKey: { $eq: key }, status: { $in: keyHolders }, _id: { $ne: _id } };
  const holder = await requests.findOne(held, { projection: rowProjection });
  const view = holder && soundView(holder);
  const by = view
    ? `request ${idOf(view)} (${view.command}, ${view.status ?? 'pending'})`
    : 'another request';
  return new Refusal(
    `Request ${String(_id)} cannot run again: its dedupeKey ${JSON.stringify(key)} is held by ${by}`,
  );
}
