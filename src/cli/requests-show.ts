// `requests show`: everything about one request, for a person or as JSON.
import { persistently } from '../mongo-faults.js';
import { exitCodes, type ExitCode } from './exit-code.js';
import { findRequestId } from './find-request.js';
import { missingRequest } from './missing-request.js';
import { detailText } from './request-details.js';
import { requestJson } from './summary.js';
import type { Terminal } from './terminal.js';
import { databaseTime, withQueue } from './with-queue.js';

export async function showRequest(
  terminal: Terminal,
  id: string,
  { json }: { readonly json?: true },
): Promise<ExitCode> {
  return withQueue(terminal, async (queue, signal) => {
    const { requests, db, patienceMs } = queue;
    const _id = await findRequestId(queue, id, signal);
    const read = () => requests.findOne({ _id });
    const found = await persistently('reading the request', read, { withinMs: patienceMs, signal });
    if (!found) throw missingRequest(id, queue);
    terminal.result(
      json ? requestJson(found) : detailText(found, await databaseTime(db), terminal.screen?.columns),
    );
    return exitCodes.succeeded;
  });
}
