// `requests cancel`: has requests end that wait or run.
import { isEndStatus, type RequestId } from '../../requests/request.js';
import { idOf, type RequestView } from '../../requests/view.js';
import { type ExitCode, exitCodes, Refusal, withinSeconds } from '../faults.js';
import { followHere } from '../follow.js';
import { jsonOf, printEnded, rowOf } from '../screen/summary.js';
import type { Terminal } from '../screen/terminal.js';
import { type Queue, withQueue } from '../session.js';
import { steer, steerEach, type SteerOptions } from './steer.js';

export async function cancelRequests(
  terminal: Terminal,
  ids: readonly string[],
  { wait = true, json, timeout }: SteerOptions,
): Promise<ExitCode> {
  return withQueue(terminal, async (queue, signal) => {
    const { requests, exitCode } = await steerEach(terminal, queue, ids, signal, (_id) =>
      wish(queue, _id, signal),
    );
    if (!wait || requests.length === 0) {
      for (const each of requests) {
        terminal.result(
          json ? jsonOf(rowOf(each)) : `request ${idOf(each)} (${each.command}) ${askedText(each)}`,
        );
      }
      return exitCode;
    }
    const ended = await withinSeconds(timeout, signal, (limited) =>
      followHere(terminal, queue, {
        ids: requests.map(({ _id }) => _id),
        entries: undefined,
        signal: limited,
        canRunHere: false,
        whenLeft: 'Nobody follows any more; what was asked for goes on',
      }),
    );
    await printEnded(terminal, queue, ended, json ? { json } : {});
    return ended.every(({ status }) => status === 'cancelled') ? exitCode : exitCodes.failed;
  });
}

const askedText = ({ status }: RequestView): string =>
  status === 'running'
    ? 'stops at its next checkpoint'
    : status === 'cancelled'
      ? 'is cancelled'
      : 'is to end';

const wish = (queue: Queue, _id: RequestId, signal: AbortSignal): Promise<RequestView> =>
  steer(
    queue,
    _id,
    {
      doing: 'cancelling the request',
      filter: { status: { $in: ['pending', 'running', null] } },
      pipeline: [{ $set: { cancel: true } }],
      otherwise: (found) => {
        if (found.status === 'cancelled') return found;
        const text = isEndStatus(found.status)
          ? `has ended already: ${found.status}`
          : 'has no status that can be cancelled';
        throw new Refusal(`Request ${idOf(found)} ${text}`);
      },
    },
    signal,
  );
