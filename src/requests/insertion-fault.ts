// What an error of an insertion into sync_requests means, for whoever inserts, by whichever driver.
import { Fault } from '../errors.js';
import { duplicateFields, hasCode } from '../mongo-codes.js';

/** The fault of the request that was to be inserted; undefined where the error is none of its. */
export function insertionFault(error: unknown): Fault | undefined {
  const fault = (code: 'duplicate_request' | 'invalid_request', text: string): Fault =>
    new Fault(code, text, { kind: 'terminal', cause: error });
  if (hasCode(error, 'documentValidationFailure')) {
    return fault(
      'invalid_request',
      "MongoDB refused the request by the rules of another version's validator",
    );
  }
  const fields = duplicateFields(error);
  if (fields.includes('dedupeKey')) {
    return fault('duplicate_request', 'A request with this dedupeKey waits, runs or is kept');
  }
  return fields.includes('_id')
    ? fault('duplicate_request', 'A request with this _id is there already')
    : undefined;
}
