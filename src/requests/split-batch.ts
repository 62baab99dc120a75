// Splits customers into batches that one request each may hold, for those who insert requests.
import { mongo } from 'mongoose';
import { maxBatchBytes, maxEntries } from './document.js';

/** Bytes of `{ batch: [] }`, and of an entry's type, index ("0" to "999") and end of string before its own. */
const emptyBatchBytes = mongo.BSON.calculateObjectSize({ batch: [] });
const entryOverheadBytes = 1 + String(maxEntries - 1).length + 1;

/**
 * The entries in their order, in batches of at most 1,000 entries and 4 MiB of BSON. An entry that is larger than that by itself
 * becomes a batch of its own, which `newRequest` refuses.
 */
export function splitBatch<Entry>(
  entries: readonly Entry[],
  objectOf: (entry: Entry) => object,
): readonly (readonly Entry[])[] {
  const batches: Entry[][] = [];
  let bytes = Infinity;
  for (const entry of entries) {
    const entryBytes = mongo.BSON.calculateObjectSize(objectOf(entry)) + entryOverheadBytes;
    const current = batches.at(-1);
    if (current && current.length < maxEntries && bytes + entryBytes <= maxBatchBytes) {
      current.push(entry);
      bytes += entryBytes;
    } else {
      batches.push([entry]);
      bytes = emptyBatchBytes + entryBytes;
    }
  }
  return batches;
}
