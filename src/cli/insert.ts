// Inserts requests, each exactly once: their ids are made here, so an insertion whose answer was lost is found again.
import type { NewRequest } from '../requests/commands.js';
import { duplicateFields } from '../mongo-codes.js';
import { persistently } from '../mongo-faults.js';
import { insertionFault } from '../requests/insertion-fault.js';
import type { RequestCollection } from './follow.js';

export interface InsertOptions {
  readonly signal: AbortSignal;
  /** How long MongoDB may stay away before it is given up, in milliseconds. */
  readonly patienceMs: number;
  /** Gets the number of requests that have been inserted so far. */
  readonly onInserted: (inserted: number) => void;
}

/** @throws Fault `invalid_request` where MongoDB's own rules refuse one, `mongodb_unavailable`, `mongodb_rejected`; the signal's reason on abort. Those before stay inserted. */
export async function insertRequests(
  collection: RequestCollection,
  requests: readonly NewRequest[],
  { signal, patienceMs, onInserted }: InsertOptions,
): Promise<void> {
  for (const [index, request] of requests.entries()) {
    const insert = async (): Promise<void> => {
      await collection.insertOne(request).catch((error: unknown) => {
        // An earlier try whose answer was lost.
        if (!duplicateFields(error).includes('_id')) throw insertionFault(error) ?? error;
      });
    };
    await persistently('inserting the request', insert, { withinMs: patienceMs, signal });
    onInserted(index + 1);
  }
}
