import type { mongo } from 'mongoose';
import { describe, expect, it } from 'vitest';
import { runCommandLine } from '../support/cli.js';
import { freshDatabase } from '../support/database.js';

const migrate = (uri: string, ...args: string[]) =>
  runCommandLine(['migrate', ...args], { env: { MONGODB_URI: uri } });

interface Change {
  what: string;
  outcome: string;
}

const changesIn = (stdout: string): Change[] => stdout.split('\n').map((line) => JSON.parse(line) as Change); // printed by --json

describe('migrate', () => {
  it('creates everything, needs MongoDB alone, and changes nothing the second time', async () => {
    const { db, uri } = freshDatabase();

    const first = await migrate(uri);
    const second = await migrate(uri, '--json');

    expect(first).toMatchObject({ code: 0, stderr: '' });
    const names = (await db.listCollections().toArray()).map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(['stripe_customers', 'stripe_customers_live', 'sync_requests', 'sync_state']),
    );
    const indexes = await db.collection('sync_requests').listIndexes().toArray();
    for (const index of indexes.map(({ name }) => String(name)).filter((name) => name !== '_id_')) {
      expect(first.stdout).toContain(`created    index ${index} of sync_requests\n`);
    }
    expect(first.stdout).toMatch(/^created {4}view stripe_customers_live$/m);
    expect(first.stdout).toMatch(/^created {4}validator of sync_requests$/m);
    expect(second.code).toBe(0);
    const again = changesIn(second.stdout);
    expect(again).toHaveLength(first.stdout.split('\n').length);
    expect(new Set(again.map(({ outcome }) => outcome))).toEqual(new Set(['unchanged']));
  });

  it('creates what is missing alone, keeps what users have made, and says that kept requests share a key', async () => {
    const { db, uri } = freshDatabase();
    const own = db.collection('sync_requests');
    await own.insertMany([1, 2].map((n) => ({ command: 'syncAll', dedupeKey: 'one', n })));
    await own.createIndex({ tenant: 1 }, { name: 'own' }, {});

    const clashing = await migrate(uri);
    await own.updateMany({}, { $unset: { dedupeKey: 1 } });
    const { stdout } = await migrate(uri);

    expect(clashing.code).toBe(1);
    expect(clashing.stderr).toContain(
      'index dedupeKey of sync_requests cannot be created: existing documents',
    );
    expect(stdout).toMatch(/^unchanged {2}collection sync_requests$/m);
    expect(stdout).toMatch(/^created {4}index dedupeKey of sync_requests$/m);
    expect(await own.countDocuments()).toBe(2);
    expect(await own.indexExists('own')).toBe(true);
  });

  it.each<[string, mongo.IndexSpecification, mongo.CreateIndexesOptions]>([
    ['other fields', { tenant: 1 }, { name: 'claim' }],
    ['another order', { status: 1, command: 1, _id: 1, runAt: 1 }, { name: 'claim' }],
    ['no time to live', { expireAt: 1 }, { name: 'expiry' }],
    ['another time to live', { expireAt: 1 }, { name: 'expiry', expireAfterSeconds: 60 }],
    ['no uniqueness', { dedupeKey: 1 }, { name: 'dedupeKey' }],
    ['another filter', { dedupeKey: 1 }, { name: 'dedupeKey', unique: true, sparse: true }],
  ])('says which index stands in the way, by %s', async (_difference, fields, options) => {
    const { db, uri } = freshDatabase();
    await db.collection('sync_requests').createIndex(fields, options, {});

    expect(await migrate(uri)).toMatchObject({
      code: 1,
      stderr: `error: The index ${options.name} of sync_requests cannot be created: another index has its name or its fields`,
    });
    expect(await db.collection('sync_requests').indexExists(options.name!)).toBe(true);
  });
});

describe('a daemon that may create nothing (mongodb.autoMigrate: false)', () => {
  const run = (uri: string) =>
    runCommandLine(['run'], {
      env: {
        MONGODB_URI: uri,
        MONGODB_AUTO_MIGRATE: 'false',
        STRIPE_API_KEY: 'rk_test_neverUsed1234567890',
        // Nobody listens there: it must end before it asks Stripe.
        STRIPE_API_BASE: 'http://127.0.0.1:9',
        HTTP_PORT: '0',
      },
    });

  it('ends at once, names everything that is missing and what to do, and creates nothing', async () => {
    const { db, uri } = freshDatabase();
    const wanted = { name: 'cancel', partialFilterExpression: { cancel: true } };
    await db.collection('sync_requests').createIndex({ cancel: 1 }, wanted, {});
    await db.collection('sync_requests').createIndex({ expireAt: 1 }, { name: 'expiry' }, {});

    const { code, stdout } = await run(uri);

    expect(code).toBe(1);
    expect(stdout).toContain('Run \\"stripe-mongo-sync migrate\\"');
    for (const missing of [
      'collection stripe_customers',
      'index claim of sync_requests',
      'index expiry of sync_requests',
      'collection sync_state',
    ]) {
      expect(stdout).toContain(missing);
    }
    expect(stdout).not.toContain('index cancel of');
    expect((await db.listCollections().toArray()).map(({ name }) => name)).toEqual(['sync_requests']);
  });
});
