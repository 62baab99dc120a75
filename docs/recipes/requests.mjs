// Requests from Node with the `mongodb` driver alone: MONGODB_URI=… node requests.mjs
// The package's own `requests.insert` and `requests.result` do the same, with types and one change stream for all who wait.
import { clearTimeout, setTimeout } from 'node:timers';
import { MongoClient } from 'mongodb';

const client = await MongoClient.connect(process.env.MONGODB_URI);
const requests = client.db().collection('sync_requests'); // of the database that the URI names

// Insert
const { insertedId } = await requests.insertOne({ command: 'syncByIds', ids: ['cus_1'] });

// Insert once, however often the producer tries
async function insertOnce(dedupeKey, request) {
  const holds = [null, 'pending', 'running', 'succeeded', 'partial', 'coalesced'];
  const held = { dedupeKey, status: { $in: holds } }; // just so: MongoDB then finds it by its index
  try {
    const { upsertedId } = await requests.updateOne(held, { $setOnInsert: request }, { upsert: true });
    return upsertedId; // null: it is there already
  } catch (error) {
    if (error.code !== 11000) throw error;
    return null; // another one was quicker
  }
}
const deletionId = await insertOnce('invoice-7', { command: 'softDelete', stripeId: 'cus_none' });

// Wait for the end
async function ended(_id, timeoutMs = 60_000) {
  const status = { $in: ['succeeded', 'partial', 'failed', 'cancelled', 'coalesced'] };
  const { operationTime } = await client.db().command({ ping: 1 }); // from here on the stream misses nothing
  const found = await requests.findOne({ _id, status });
  if (found) return found;
  const stream = requests.watch([{ $match: { 'documentKey._id': _id, 'fullDocument.status': status } }], {
    fullDocument: 'updateLookup',
    startAtOperationTime: operationTime,
  });
  const timer = setTimeout(() => stream.close(), timeoutMs); // next() then throws
  try {
    const { fullDocument } = await stream.next();
    return fullDocument;
  } finally {
    clearTimeout(timer);
    await stream.close();
  }
}
const { status, result } = await ended(insertedId);
console.log('inserted', status, result?.items);

// Cancel
async function cancel(_id) {
  await requests.updateOne({ _id }, { $set: { cancel: true } });
}
const later = await requests.insertOne({ command: 'syncAll', runAt: new Date(Date.now() + 3_600_000) });
await cancel(later.insertedId);
console.log('cancelled', (await ended(later.insertedId)).status);

// Retry
async function retry(_id) {
  const isOver = { $in: ['partial', 'failed', 'cancelled'] };
  const { matchedCount } = await requests.updateOne({ _id, status: isOver }, { $set: { status: 'pending' } });
  return matchedCount === 1; // E11000: its dedupeKey was taken meanwhile
}
await ended(deletionId);
console.log('retried', await retry(deletionId), (await ended(deletionId)).error?.code);

// List failures
const failures = await requests
  .find({ status: { $in: ['failed', 'partial'] } })
  .sort({ _id: -1 })
  .limit(10)
  .toArray();
for (const each of failures) console.log('failure', each.command, each.error?.code, each.attempts);

await client.close();
