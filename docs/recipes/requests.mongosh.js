// Requests from mongosh: mongosh "$MONGODB_URI" requests.mongosh.js
/* global db, print, sleep */

// Insert
const { insertedId } = db.sync_requests.insertOne({ command: 'syncByIds', ids: ['cus_1'] });

// Insert once, however often the producer tries
const holds = [null, 'pending', 'running', 'succeeded', 'partial', 'coalesced'];
const held = { dedupeKey: 'invoice-7', status: { $in: holds } }; // just so: MongoDB then finds it by its index
const deletion = { command: 'softDelete', stripeId: 'cus_none' };
// null where it is there already
const { upsertedId } = db.sync_requests.updateOne(held, { $setOnInsert: deletion }, { upsert: true });

// Wait for the end
function ended(_id, timeoutMs = 60_000) {
  const status = { $in: ['succeeded', 'partial', 'failed', 'cancelled', 'coalesced'] };
  for (const until = Date.now() + timeoutMs; Date.now() < until; sleep(200)) {
    const found = db.sync_requests.findOne({ _id, status });
    if (found) return found;
  }
  throw new Error(`Request ${_id} has not ended within ${timeoutMs} ms; it goes on`);
}
const { status, result } = ended(insertedId);
print('inserted', status, result?.items);

// Cancel
const later = db.sync_requests.insertOne({ command: 'syncAll', runAt: new Date(Date.now() + 3_600_000) });
db.sync_requests.updateOne({ _id: later.insertedId }, { $set: { cancel: true } });
print('cancelled', ended(later.insertedId).status);

// Retry
ended(upsertedId);
const isOver = { _id: upsertedId, status: { $in: ['partial', 'failed', 'cancelled'] } };
const { matchedCount } = db.sync_requests.updateOne(isOver, { $set: { status: 'pending' } });
print('retried', matchedCount === 1, ended(upsertedId).error?.code);

// List failures
db.sync_requests
  .find({ status: { $in: ['failed', 'partial'] } })
  .sort({ _id: -1 })
  .limit(10)
  .forEach((each) => print('failure', each.command, each.error?.code, each.attempts));
