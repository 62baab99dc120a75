// Proof of the test support itself: what it promises about MongoDB is what all other tests stand on.
import { mongo } from 'mongoose';
import { afterAll, describe, expect, test } from 'vitest';
import { mark, releaseTo } from '../support/cleanup.js';
import { freshDatabase } from '../support/database.js';
import { failCommand } from '../support/failpoint.js';
import { startReplicaSet, startStandalone } from '../support/mongodb.js';
import { startProcess } from '../support/process.js';
import { until } from '../support/until.js';

const quick = { serverSelectionTimeoutMS: 5_000 };

describe('the shared replica set', () => {
  const database = freshDatabase();
  const client = new mongo.MongoClient(database.uri, quick);
  afterAll(() => client.close());

  test('tells of changes through a change stream', async () => {
    const collection = client.db().collection<{ _id: string }>('changes');
    await client.db().createCollection('changes');
    const changes = collection.watch();
    const first = changes.next(); // opens the stream; an insert before that would be missed
    await until(() => changes.resumeToken, { what: 'the change stream to open' });

    await collection.insertOne({ _id: 'cus_1' });
    const change = await first;
    await changes.close();

    expect(change).toMatchObject({ operationType: 'insert', documentKey: { _id: 'cus_1' } });
  });

  test('takes a transaction', async () => {
    const collection = client.db().collection<{ _id: string }>('transactions');

    await client.withSession((session) =>
      session.withTransaction(() =>
        collection.insertMany([{ _id: 'cus_1' }, { _id: 'cus_2' }], { session }).then(() => undefined),
      ),
    );

    expect(await collection.countDocuments()).toBe(2);
  });

  test('gives each caller a database that no other sees', async () => {
    const one = freshDatabase();
    const other = freshDatabase();

    await one.db.collection('customers').insertOne({ name: 'Jane Doe' });

    expect(await other.db.collection('customers').countDocuments()).toBe(0);
    expect(await one.db.collection('customers').countDocuments()).toBe(1);
  });

  test('drops a database at the end of what it was made for', async () => {
    const place = mark();
    const { db, name } = freshDatabase();
    await db.collection('customers').insertOne({});

    await releaseTo(place);

    const { databases } = await client.db().admin().listDatabases();
    expect(databases.map((each) => each.name)).not.toContain(name);
  });

  test('reports a client that is left open', async () => {
    const place = mark();
    const { uri } = freshDatabase({ closeWithinMs: 300 });
    const leak = await mongo.MongoClient.connect(uri, quick);

    const ended = releaseTo(place);

    await expect(ended).rejects.toThrow(/connections of the test were left open/);
    await leak.close();
  });

  test('fails a command as often as it was told, and only for its own clients', async () => {
    const other = freshDatabase();
    const collection = client.db().collection('failing');
    const failpoint = await database.failCommand({ failCommands: ['insert'], errorCode: 8000, times: 1 });

    await other.db.collection('failing').insertOne({});
    await expect(collection.insertOne({})).rejects.toMatchObject({ code: 8000 });
    await collection.insertOne({});

    expect(await failpoint.timesEntered()).toBe(1);
  });

  test('refuses a second failpoint until the first is off', async () => {
    const first = await database.failCommand({ failCommands: ['insert'], errorCode: 8000 });

    await expect(database.failCommand({ failCommands: ['find'], errorCode: 8000 })).rejects.toThrow(
      /call off/,
    );
    await first.off();
    const second = await database.failCommand({ failCommands: ['find'], errorCode: 8000 });

    await client.db().collection('failing').insertOne({});
    await second.off();
    expect(await client.db().collection('failing').findOne({})).not.toBeNull();
  });
});

describe('a replica set of its own', () => {
  test('freezes, thaws, dies and comes back with its data', async () => {
    const set = await startReplicaSet();
    const [member] = set.members;
    const client = new mongo.MongoClient(set.uri, { serverSelectionTimeoutMS: 10_000, socketTimeoutMS: 500 });
    const collection = client.db('faults').collection<{ _id: number }>('numbers');
    await collection.insertOne({ _id: 1 });

    await member!.freeze();
    await expect(client.db('faults').command({ ping: 1 })).rejects.toThrow(/timed out/);
    member!.thaw();
    await until(() => client.db('faults').command({ ping: 1 }), { what: 'an answer after the thaw' });

    const pidBefore = member!.pid;
    await member!.kill();
    expect(member!.isRunning).toBe(false);
    await member!.restart();
    expect((await set.primary()).pid).not.toBe(pidBefore);
    expect(await until(() => collection.findOne({}), { what: 'the data' })).toEqual({ _id: 1 });

    const { pid } = member!;
    await client.close();
    await set.stop();
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });

  test('of three elects another primary when the first dies, and takes it back as a secondary', async () => {
    const set = await startReplicaSet({ members: 3 });
    const client = new mongo.MongoClient(set.uri, quick);
    const numbers = client
      .db('faults')
      .collection<{ _id: number }>('numbers', { writeConcern: { w: 'majority' } });
    await numbers.insertOne({ _id: 1 });
    const first = await set.primary();

    await first.kill();
    const second = await set.primary();
    await numbers.insertOne({ _id: 2 });
    await first.restart();

    const own = new mongo.MongoClient(`mongodb://${first.host}/`, { ...quick, directConnection: true });
    const copy = own.db('faults').collection('numbers', { readPreference: 'secondary' });
    expect(second.port).not.toBe(first.port);
    expect(
      await until(async () => (await copy.countDocuments()) === 2, { what: 'the first member to catch up' }),
    ).toBe(true);

    await Promise.all([client.close(), own.close()]);
  });

  test('waits for a failpoint that another process holds, and takes over that of a dead one', async () => {
    const { uri } = await startReplicaSet();
    const client = new mongo.MongoClient(uri, quick);
    const locks = client.db('test_support').collection<{ _id: string; pid: number }>('locks');
    const dead = startProcess({ nodeArgs: ['--eval', '0'] });
    await dead.exit;

    await locks.insertOne({ _id: 'failCommand', pid: dead.pid });
    const first = await failCommand(uri, { failCommands: ['insert'], errorCode: 8000 });
    await first.off();

    await locks.insertOne({ _id: 'failCommand', pid: process.ppid });
    let isSet = false;
    const second = failCommand(uri, { failCommands: ['insert'], errorCode: 8000 }).then(() => (isSet = true));
    await client.db().command({ ping: 1 });
    expect(isSet).toBe(false);
    await locks.deleteOne({ pid: process.ppid });
    await second;

    await client.close();
  });

  test('lets in only who knows the password, when asked to', async () => {
    const set = await startReplicaSet({ auth: { username: 'root', password: 'p@ss:word/' } });
    const open = new mongo.MongoClient(`mongodb://${set.members[0]!.host}/`, {
      ...quick,
      directConnection: true,
    });
    const known = new mongo.MongoClient(set.uri, quick);

    await expect(open.db('faults').collection('numbers').findOne()).rejects.toMatchObject({ code: 13 });
    expect(await known.db('faults').collection('numbers').findOne()).toBeNull();

    await Promise.all([open.close(), known.close()]);
  });
});

describe('a standalone server', () => {
  test('has no change stream', async () => {
    const server = await startStandalone();
    const client = new mongo.MongoClient(server.uriFor('standalone'), quick);
    const changes = client.db().collection('changes').watch();

    await expect(changes.next()).rejects.toMatchObject({ code: 40573 });

    await client.close();
  });
});
