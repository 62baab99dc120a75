// Inserts requests, each exactly once: their ids are made here, so an insertion whose answer was lost is found again.
import type { NewRequest } from '../requests/commands.js';
import { isDuplicateKey, persistently } from '../mongo-faults.js';
import type { RequestCollection } from './follow.js';

export interface InsertOptions {
  readonly signal: AbortSignal;
  /** How long MongoDB may stay away before it is given up, in milliseconds. */
  readonly patienceMs: number;
  /** Gets the number of requests that have been inserted so far. */
  readonly onInserted: (inserted: number) => void;
}

/** @throws Fault `mongodb_unavailable`, `mongodb_rejected`; the signal's reason on abort. Those before stay inserted. */
export async function insertRequests(
  collection: RequestCollection,
  requests: readonly NewRequest[],
  { signal, patienceMs, onInserted }: InsertOptions,
): Promise<void> {
  for (const [index, request] of requests.entries()) {
    const insert = async (): Promise<void> => {
      await collection.insertOne(request).catch((error: unknown) => {
        if (!isDuplicateKey(error)) throw error;
      });
    };
    await persistently('inserting the request', insert, { withinMs: patienceMs, signal });
    onInserted(index + 1);
  }
}
