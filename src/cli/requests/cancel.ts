// `requests cancel`: ends requests that wait or run.
import { requireOurRequests } from '../../ownership.js';
import { isEndStatus, type RequestId } from '../../requests/request.js';
import { idOf, type RequestView } from '../../requests/view.js';
import { type ExitCode, Refusal } from '../faults.js';
import type { Terminal } from '../screen/terminal.js';
import { type Session, withSession } from '../session.js';
import { checkedRequestIds } from '../typed-ids.js';
import { steer, steerAll, type SteerOptions } from './steer.js';

export async function cancelRequests(
  terminal: Terminal,
  typed: readonly string[],
  options: SteerOptions,
): Promise<ExitCode> {
  const ids = checkedRequestIds(typed);
  return withSession(terminal, async (session) => {
    await requireOurRequests(session.database);
    return steerAll(session, ids, options, {
      step: (_id) => cancel(session, _id),
      told: cancelText,
      isDone: (ended) => ended.every(({ status }) => status === 'cancelled'),
      whenLeft: 'No longer followed; the cancellation stands',
    });
  });
}

function cancelText({ status }: RequestView): string {
  if (status === 'cancelled') return 'is cancelled';
  return status === 'running' ? 'will stop at its next checkpoint' : 'will be cancelled';
}

/**
 * When the daemon acts on the cancellation: at once for a waiting request, at the next checkpoint for a
 * running one.
 */
const cancel = (session: Session, _id: RequestId): Promise<RequestView> =>
  steer(session, _id, {
    doing: 'cancelling the request',
    filter: { status: { $in: ['pending', 'running', null] } },
    pipeline: [{ $set: { cancel: true } }],
    otherwise: (found) => {
      if (found.status === 'cancelled') return found;
      const text = isEndStatus(found.status)
        ? `has already ended: ${found.status}`
        : 'has no status that can be cancelled';
      throw new Refusal(`Request ${idOf(found)} ${text}`);
    },
  });
