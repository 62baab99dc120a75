// Ids that Stripe has ever allowed, wherever an id goes: listed, retrieved, in a batch, marked, found missing, typed, in every language's rules.
import { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { atEnd } from '../support/cleanup.js';
import { runCommandLine } from '../support/cli.js';
import { liveIds } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { connect, startStripe } from '../support/library.js';

const odd = [
  'jane.doe@example.com',
  'user:42',
  'auth0|abc',
  'a/b',
  ' a b ',
  'Jürgen Müller',
  '../customers',
  'a%2Fb',
  'a?b=c#d',
  '%',
  'cus_Ab',
  'cus_aB',
  'caf\u00e9',
  'cafe\u0301',
  'cafe',
  '$where',
  '__proto__',
  'constructor',
  '"\'\\',
  'a\tb\nc',
  '\u001b[2J',
  'ü'.repeat(255),
  '😀'.repeat(255),
];
/** No URL can name these. */
const urlless = ['.', '..', 'search'];

const failed = { outcome: 'failed', code: 'invalid_id' };

test('every id is mirrored from a list, found changed, missing and deleted, and marked; a URL is not made of everything', async () => {
  const database = freshDatabase();
  const simulator = await startStripe();
  for (const [at, id] of [...odd, ...urlless].entries()) simulator.create({ id, created: 1_000 + at });
  const { action } = await connect(database, simulator);

  expect(await action.syncAll()).toMatchObject({ created: odd.length + urlless.length, failed: 0 });
  for (const id of odd) simulator.update(id, { name: 'changed' });
  const byIds = await action.syncByIds([...odd, ...urlless]);
  expect(byIds).toMatchObject({ updated: odd.length, failed: urlless.length });
  expect(byIds.items.filter(({ outcome }) => outcome === 'failed')).toMatchObject(
    urlless.map((id) => ({ id, ...failed })),
  );
  expect(await action.syncAll()).toMatchObject({ unchanged: odd.length + urlless.length, failed: 0 });

  for (const id of [...odd, ...urlless]) simulator.delete(id);
  const removed = await action.syncAll();
  expect(removed).toMatchObject({ deleted: odd.length, failed: urlless.length });
  expect(removed.items.filter(({ outcome }) => outcome === 'failed')).toMatchObject(
    urlless.map((id) => ({ id, ...failed })),
  );
  expect(await liveIds(database.db)).toEqual([...urlless].sort());
  for (const id of urlless) expect(await action.softDelete(id)).toMatchObject({ id, outcome: 'deleted' });
  expect(await liveIds(database.db)).toEqual([]);
});

test('whom Stripe does not know is remembered by any id', async () => {
  const database = freshDatabase();
  const simulator = await startStripe();
  const { action } = await connect(database, simulator);
  const others = odd.map((id, at) => ({ id, object: 'customer', created: 1_000 + at }));
  expect(await action.syncBatch(others)).toMatchObject({ created: odd.length });

  const first = await action.syncAll();
  const asked = simulator.requests.length;
  const second = await action.syncAll();

  expect(first).toMatchObject({ unchanged: odd.length, failed: 0 });
  expect(first.items.map(({ id }) => id).sort()).toEqual([...odd].sort());
  expect(second.items).toEqual([]);
  expect(simulator.requests.slice(asked).map(({ endpoint }) => endpoint)).not.toContain(
    'GET /v1/customers/{id}',
  );
});

test('a batch takes every id, and its whole customers equal those that Stripe lists', async () => {
  const database = freshDatabase();
  const simulator = await startStripe();
  const held = [...odd, ...urlless].map((id, at) => simulator.create({ id, created: 1_000 + at }));
  const { action } = await connect(database, simulator);

  expect(await action.syncBatch(held)).toMatchObject({ created: held.length, failed: 0 });
  expect(await action.syncAll()).toMatchObject({ unchanged: held.length, failed: 0 });
  expect(await action.syncBatch([{ id: 'a\0b' }, { id: 'a\ud800' }, { id: '' }])).toMatchObject({
    failed: 3,
  });
});

test('the command line takes one id in an argument, whatever is in it, and MongoDB the request', async () => {
  const database = freshDatabase();
  const simulator = await startStripe();
  const typed = odd.filter((id) => id.length < 200);
  for (const id of typed) simulator.create({ id });
  const env = {
    MONGODB_URI: database.uri,
    STRIPE_API_BASE: simulator.url,
    STRIPE_API_KEY: simulator.restrictedKey,
  };

  const synced = await runCommandLine(['sync-by-ids', '--in-process', ...typed, '..'], { env });

  expect(synced).toMatchObject({ code: 1 });
  expect(synced.stdout).toMatch(/^syncByIds partial /);
  expect(synced.stdout).toContain('..  invalid_id');
  expect(await liveIds(database.db)).toEqual([...typed].sort());
  const stored = await database.db.collection('sync_requests').findOne();
  expect(stored?.['ids']).toEqual([...typed, '..']);
});

test('MongoDB takes a thousand of the longest ids in a request, and the daemon reads it', async () => {
  const database = freshDatabase();
  const simulator = await startStripe();
  const ids = Array.from({ length: 1_000 }, (_, at) => `${'😀'.repeat(251)}${1_000 + at}`);
  const { connection } = await connect(database, simulator);
  const client = await mongo.MongoClient.connect(database.uri);
  atEnd(() => client.close());

  // The rules are set by the start above.
  const inserted = client.db().collection('sync_requests').insertOne({ command: 'syncByIds', ids });

  await expect(inserted).resolves.toMatchObject({ acknowledged: true });
  expect(connection.readyState).toBe(1);
  const tooLong = client
    .db()
    .collection('sync_requests')
    .insertOne({ command: 'softDelete', stripeId: 'a'.repeat(256) });
  await expect(tooLong).rejects.toMatchObject({ code: 121 });
  const withNul = client
    .db()
    .collection('sync_requests')
    .insertOne({ command: 'softDelete', stripeId: 'a\0' });
  await expect(withNul).rejects.toMatchObject({ code: 121 });
});
