// Ids of customers as they are typed.
import { mongo } from 'mongoose';
import { Fault } from '../base/errors.js';
import { persistently } from '../mongo/faults.js';
import { describeValue } from '../requests/parse.js';
import { maxTextLength, type RequestId } from '../requests/request.js';
import { isStripeId } from '../sync/ports.js';
import { limitedFaults, UsageFault } from './faults.js';
import type { Queue } from './session.js';

/**
 * The same ids.
 * @throws UsageFault that names each one that cannot be an id
 */
export function checkedIds(ids: readonly string[]): readonly string[] {
  const faults = ids
    .filter((id) => !isStripeId(id))
    .map((id) => `An id must be 1 to 255 letters, digits, _ or -, such as cus_123, got ${describeValue(id)}`);
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return ids;
}

// Ids of requests as they are typed.
/**
 * The same ids, each once; digits of an ObjectId in lower case.
 * @throws UsageFault where one cannot be the id of a request
 */
export function checkedRequestIds(typed: readonly string[]): readonly string[] {
  const faults = typed
    .filter((id) => id === '' || id.length > maxTextLength)
    .map((id) => `The id of a request must have 1 to ${maxTextLength} characters, got ${id.length}`);
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return [...new Set(typed.map((id) => (/^[0-9a-f]{24}$/i.test(id) ? id.toLowerCase() : id)))];
}

// Finds the request whose id was typed: ids are ObjectIds, or texts that users have chosen.
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

// What is said of a request that is not there.
export const missingRequest = (id: string, { database }: { readonly database: string }): Fault =>
  new Fault(
    'not_found',
    `There is no request ${id} in the database "${database}"; those that have ended are removed after some time`,
    { kind: 'terminal' },
  );
