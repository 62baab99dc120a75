// Searching the queue: in order, fair to both kinds, and at a cost that does not grow with what has ended or is put off.
import type { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { Claims } from '../../src/requests/claims.js';
import { commandsOf } from '../../src/requests/commands.js';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import { freshDatabase } from '../support/database.js';
import { quickSettings, requestsLab } from '../support/requests.js';

const small = { command: 'softDelete', stripeId: 'cus_1' };
const ago = (ms: number): Date => new Date(Date.now() - ms);

async function openQueue() {
  const database = freshDatabase();
  const lab = requestsLab(database);
  const place = await lab.connect();
  await ensureRequestIndexes(place);
  return { database, lab, claims: new Claims(place, 'me', quickSettings) };
}

test('a search finds the oldest first, of those with a time of their own and of those without', async () => {
  const { lab, claims } = await openQueue();
  const [first, late, second, early, third] = await lab.insert(
    small,
    { ...small, runAt: ago(1_000) },
    { command: 'syncByIds', ids: ['cus_1'] },
    { ...small, runAt: ago(5_000), status: 'pending' },
    { ...small, status: null },
  );
  await lab.insert({ ...small, runAt: ago(-60_000) }, { ...small, cancel: true }, { command: 'syncAll' });

  const found = await claims.claimable(commandsOf('small'), 10);

  expect(found).toEqual([early, first, late, second, third]);
  expect(await claims.claimable(commandsOf('small'), 1)).toEqual([early, first]);
  expect(await claims.claimable(commandsOf('small'), 10, { except: [early!, first!] })).toEqual([
    late,
    second,
    third,
  ]);
});

test('a search costs no more for what has ended, is put off, or waits behind', async () => {
  const { database, lab, claims } = await openQueue();
  await lab.insert(...Array.from({ length: 1_000 }, () => ({ ...small, status: 'succeeded' })));
  await lab.insert(...Array.from({ length: 1_000 }, () => ({ ...small, runAt: ago(-3_600_000) })));
  await lab.insert(...Array.from({ length: 1_000 }, () => small));
  await database.db.command({ profile: 2 });

  expect(await claims.claimable(commandsOf('small'), 5)).toHaveLength(5);

  await database.db.command({ profile: 0 });
  const searches = await database.db
    .collection<mongo.BSON.Document & { _id: mongo.ObjectId }>('system.profile')
    .find({ op: 'query', ns: `${database.name}.sync_requests` })
    .toArray();
  expect(searches).toHaveLength(2);
  for (const search of searches) expect(search['docsExamined']).toBeLessThanOrEqual(5);
  for (const search of searches) expect(search['keysExamined']).toBeLessThanOrEqual(60);
});
