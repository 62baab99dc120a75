// The common part of retry and cancel. Each request is updated in turn; those that refuse are named, and the
// others are followed.
import type { mongo } from 'mongoose';
import { isFault } from '../../base/errors.js';
import type { RequestId } from '../../requests/request.js';
import { idOf, type RequestView, rowProjection, soundView } from '../../requests/view.js';
import { complain, type ExitCode, exitCodes, Refusal } from '../faults.js';
import { follow } from '../follow.js';
import { jsonOf, printEnded, rowOf } from '../screen/summary.js';
import type { Session } from '../session.js';
import { findRequestId, missingRequest } from '../typed-ids.js';

export interface SteerOptions {
  readonly wait?: boolean;
  readonly json?: true;
  /** Seconds. */
  readonly timeout?: number;
}

export interface Steering {
  /** Updates one request. @throws Refusal where its state does not allow that */
  readonly step: (_id: RequestId) => Promise<RequestView>;
  /** The text after the name of an updated request. */
  readonly told: (request: RequestView) => string;
  /** Whether they ended as intended. */
  readonly isDone: (ended: readonly RequestView[]) => boolean;
  /** The text to print when following gives up. */
  readonly whenLeft: string;
}

/**
 * Updates each request and, with `wait`, follows them. A request that is missing or refuses is named, and the
 * others continue. Returns 1 if one refused or did not end as intended.
 * @throws Fault if MongoDB stays unavailable or refuses; the signal's reason on abort
 */
export async function steerAll(
  session: Session,
  ids: readonly (string | RequestId)[],
  { wait, json, timeout }: SteerOptions,
  { step, told, isDone, whenLeft }: Steering,
): Promise<ExitCode> {
  const { terminal } = session;
  const steered: RequestView[] = [];
  for (const id of ids) {
    try {
      steered.push(await step(typeof id === 'string' ? await findRequestId(session, id) : id));
    } catch (error) {
      const isItsOwn = error instanceof Refusal || (isFault(error) && error.code === 'not_found');
      if (!isItsOwn) throw error;
      complain(terminal, error);
    }
  }
  const exitCode = steered.length < ids.length ? exitCodes.failed : exitCodes.succeeded;
  for (const request of steered) {
    const text = `${nameOf(request)} ${told(request)}`;
    if (wait) terminal.note(text);
    else terminal.result(json ? jsonOf(rowOf(request)) : text);
  }
  if (!wait || steered.length === 0) return exitCode;
  const ended = await follow(session, { ids: steered.map(({ _id }) => _id), timeout, whenLeft });
  await printEnded(session, ended, json);
  return isDone(ended) ? exitCode : exitCodes.failed;
}

const nameOf = (request: RequestView): string => `request ${idOf(request)} (${request.command})`;

export interface Update {
  readonly doing: string;
  readonly filter: mongo.BSON.Document;
  readonly pipeline: mongo.BSON.Document[];
  /**
   * Called with a request that the filter does not match. `wasTried`: an earlier try may have made the
   * update.
   */
  readonly otherwise: (found: RequestView, wasTried: boolean) => RequestView;
}

/** One guarded update. Returns the request after it. */
export async function steer(
  session: Session,
  _id: RequestId,
  { doing, filter, pipeline, otherwise }: Update,
): Promise<RequestView> {
  const { requests, persist } = session;
  let tries = 0;
  const [updated, found] = await persist(doing, async () => {
    tries += 1;
    const options = { returnDocument: 'after', projection: rowProjection } as const;
    const after = await requests.findOneAndUpdate({ ...filter, _id }, pipeline, options);
    return [after, after ?? (await requests.findOne({ _id }, { projection: rowProjection }))] as const;
  });
  if (updated) return soundView(updated);
  if (found) return otherwise(soundView(found), tries > 1);
  throw missingRequest(String(_id), session);
}
