// What retrying and cancelling share: one request after the other, those that cannot be steered told by name, the rest followed.
import type { mongo } from 'mongoose';
import { isFault } from '../../base/errors.js';
import { persistently } from '../../mongo/faults.js';
import type { RequestId } from '../../requests/request.js';
import { type RequestView, rowProjection, soundView } from '../../requests/view.js';
import { complain, type ExitCode, exitCodes, Refusal } from '../faults.js';
import type { Terminal } from '../screen/terminal.js';
import type { Queue } from '../session.js';
import { findRequestId, missingRequest } from '../typed-ids.js';

export interface SteerOptions {
  readonly wait?: boolean;
  readonly json?: true;
  readonly timeout?: number;
}

export interface Steered {
  readonly requests: readonly RequestView[];
  /** 1 where one could not be steered. */
  readonly exitCode: ExitCode;
}

/**
 * Takes the step for each. One that is not there, or is not in the state for it, is told, and the others go on.
 * @throws Fault when MongoDB stays away or refuses; the signal's reason on abort
 */
export async function steerEach(
  terminal: Terminal,
  queue: Queue,
  ids: readonly (string | RequestId)[],
  signal: AbortSignal,
  step: (_id: RequestId) => Promise<RequestView>,
): Promise<Steered> {
  const requests: RequestView[] = [];
  let exitCode: ExitCode = exitCodes.succeeded;
  for (const id of ids) {
    try {
      requests.push(await step(typeof id === 'string' ? await findRequestId(queue, id, signal) : id));
    } catch (error) {
      const isItsOwn = error instanceof Refusal || (isFault(error) && error.code === 'not_found');
      if (!isItsOwn) throw error;
      complain(terminal, error);
      exitCode = exitCodes.failed;
    }
  }
  return { requests, exitCode };
}

export interface Update {
  readonly doing: string;
  readonly filter: mongo.BSON.Document;
  readonly pipeline: mongo.BSON.Document[];
  /** What is said of one that the filter does not match. `wasTried`: it may be this very step that was done, and its answer lost. */
  readonly otherwise: (found: RequestView, wasTried: boolean) => RequestView;
}

/** One guarded update, and the request after it. */
export async function steer(
  queue: Queue,
  _id: RequestId,
  { doing, filter, pipeline, otherwise }: Update,
  signal: AbortSignal,
): Promise<RequestView> {
  const { requests, patienceMs } = queue;
  let tries = 0;
  const step = async (): Promise<{ readonly updated?: RequestView; readonly found?: RequestView }> => {
    tries += 1;
    const options = { returnDocument: 'after', projection: rowProjection } as const;
    const updated = await requests.findOneAndUpdate({ ...filter, _id }, pipeline, options);
    if (updated) return { updated: soundView(updated) };
    const found = await requests.findOne({ _id }, { projection: rowProjection });
    return found ? { found: soundView(found) } : {};
  };
  const { updated, found } = await persistently(doing, step, { withinMs: patienceMs, signal });
  if (updated) return updated;
  if (!found) throw missingRequest(String(_id), queue);
  return otherwise(found, tries > 1);
}
