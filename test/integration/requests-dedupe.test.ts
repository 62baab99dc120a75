// A dedupeKey: held by one request at a time, and found again at once however many are kept.
import type { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import { freshDatabase } from '../support/database.js';
import { type AnyDocument, requestsLab } from '../support/requests.js';

const small = { command: 'softDelete', stripeId: 'cus_1' };
/** As the recipes of docs/requests.md ask. */
const holdsKey = { $in: [null, 'pending', 'running', 'succeeded', 'partial', 'coalesced'] };

async function openQueue() {
  const lab = requestsLab(freshDatabase());
  await ensureRequestIndexes(await lab.connect());
  return lab;
}

const keysExamined = async (cursor: mongo.FindCursor): Promise<unknown> => {
  const { executionStats } = (await cursor.explain('executionStats')) as { executionStats: AnyDocument };
  return { keys: executionStats['totalKeysExamined'], documents: executionStats['totalDocsExamined'] };
};

test('whoever inserts once looks at the one request that holds the key, however many are kept', async () => {
  const lab = await openQueue();
  const statuses = ['succeeded', 'partial', 'coalesced', 'failed', 'cancelled', 'pending'];
  const kept = Array.from({ length: 3_000 }, (_, index) => ({
    ...small,
    dedupeKey: `invoice-${Math.floor(index / 2)}`,
    status: index % 2 === 0 ? statuses[(index / 2) % statuses.length] : 'failed',
  }));
  await lab.insert(...kept);

  for (const dedupeKey of ['invoice-0', 'invoice-1', 'invoice-5', 'none']) {
    const cost = await keysExamined(lab.requests.find({ dedupeKey, status: holdsKey }));
    expect(cost).toEqual({ keys: dedupeKey === 'none' ? 0 : 1, documents: dedupeKey === 'none' ? 0 : 1 });
  }
});

test('of the requests with one key only one waits, runs or is kept after success', async () => {
  const lab = await openQueue();
  const key = { ...small, dedupeKey: 'one' };

  for (const status of ['pending', 'running', 'succeeded', 'partial', 'coalesced', null]) {
    const [id] = await lab.insert({ ...key, status });
    await expect(lab.insert(key), String(status)).rejects.toMatchObject({ code: 11_000 });
    await lab.requests.updateOne({ _id: id! }, { $set: { status: 'failed' } });
  }

  expect(await lab.insert({ ...key, status: 'cancelled' }, key)).toHaveLength(2);
});

test("a key that is not set, null or no text is nobody else's business", async () => {
  const lab = await openQueue();
  const twice = [{}, { dedupeKey: null }, { dedupeKey: 7 }, { dedupeKey: { $gt: '' } }];

  const ids = await lab.insert(...[...twice, ...twice].map((key) => ({ ...small, ...key })));

  expect(ids).toHaveLength(8);
});
