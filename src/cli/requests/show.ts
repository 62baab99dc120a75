// `requests show`: everything about one request, for a person or as JSON.
import { persistently } from '../../mongo/faults.js';
import { type ExitCode, exitCodes } from '../faults.js';
import { detailText } from '../screen/request-text.js';
import { requestJson } from '../screen/summary.js';
import type { Terminal } from '../screen/terminal.js';
import { databaseTime, withQueue } from '../session.js';
import { findRequestId, missingRequest } from '../typed-ids.js';

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
