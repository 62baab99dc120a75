// Finds the request whose id was typed: ids are ObjectIds, or texts that users have chosen.
import { mongo } from 'mongoose';
import { persistently } from '../mongo-faults.js';
import type { RequestId } from '../requests/document.js';
import { missingRequest } from './missing-request.js';
import type { Queue } from './open-queue.js';

/** Its `_id`: where both are there, the ObjectId. @throws Fault `not_found`, `mongodb_unavailable`; the signal's reason on abort */
export async function findRequestId(queue: Queue, typed: string, signal: AbortSignal): Promise<RequestId> {
  const { requests, patienceMs } = queue;
  const ids = [
    ...(/^[0-9a-f]{24}$/i.test(typed) ? [mongo.ObjectId.createFromHexString(typed)] : []),
    typed as unknown as RequestId, // users choose the type
  ];
  const read = () => requests.find({ _id: { $in: ids } }, { projection: { _id: 1 } }).toArray();
  const found = await persistently('reading the request', read, { withinMs: patienceMs, signal });
  const [first, second] = found.map(({ _id }) => _id);
  if (first === undefined) throw missingRequest(typed, queue);
  return second instanceof mongo.ObjectId ? second : first;
}
