// Ids of customers and of requests as they are typed.
import { mongo } from 'mongoose';
import { Fault } from '../base/errors.js';
import { describeValue } from '../requests/parse.js';
import { maxTextLength, type RequestId } from '../requests/request.js';
import { isStripeId, stripeIdText } from '../sync/ports.js';
import { limitedFaults, UsageFault } from './faults.js';
import type { Session } from './session.js';

/**
 * The customer ids, each once.
 * @throws UsageFault that names each one that cannot be an id
 */
export function checkedIds(typed: readonly string[]): readonly string[] {
  const faults = typed
    .filter((id) => !isStripeId(id))
    .map((id) => `Each id must be ${stripeIdText}, got ${describeValue(id)}`);
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return [...new Set(typed)];
}

const objectId = /^[0-9a-f]{24}$/i;

/**
 * The request ids, each once; an ObjectId in lower case.
 * @throws UsageFault where one cannot be the id of a request
 */
export function checkedRequestIds(typed: readonly string[]): readonly string[] {
  const faults = typed
    .filter((id) => id === '' || id.length > maxTextLength)
    .map((id) => `The id of a request must have 1 to ${maxTextLength} characters, got ${id.length}`);
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return [...new Set(typed.map((id) => (objectId.test(id) ? id.toLowerCase() : id)))];
}

export const checkedRequestId = (typed: string): string => checkedRequestIds([typed])[0] ?? typed;

/**
 * The `_id` of the request with the typed id. Users may choose strings as ids; an ObjectId takes precedence.
 * @throws Fault `not_found`, `mongodb_unavailable`, `mongodb_rejected`; the signal's reason on abort
 */
export async function findRequestId(session: Session, typed: string): Promise<RequestId> {
  const ids = [
    ...(objectId.test(typed) ? [mongo.ObjectId.createFromHexString(typed)] : []),
    typed as unknown as RequestId, // users choose the type
  ];
  const found = await session.persist('reading the request', () =>
    session.requests.find({ _id: { $in: ids } }, { projection: { _id: 1 } }).toArray(),
  );
  const [first, second] = found.map(({ _id }) => _id);
  if (first === undefined) throw missingRequest(typed, session);
  return second instanceof mongo.ObjectId ? second : first;
}

export const missingRequest = (id: string, { requests }: Session): Fault =>
  new Fault(
    'not_found',
    `There is no request ${id} in the database "${requests.dbName}"; ended requests are removed after some time`,
  );
