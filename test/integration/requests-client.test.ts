import mongoose, { mongo } from 'mongoose';
import { describe, expect, it } from 'vitest';
import { Fault, requests, type RequestsDatabase } from '../../src/index.js';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import { atEnd } from '../support/cleanup.js';
import { countCommands } from '../support/count-commands.js';
import { freshDatabase } from '../support/database.js';
import { startStandalone } from '../support/mongodb.js';
import { quickRunner, requestsLab, resultOf } from '../support/requests.js';
import { until } from '../support/until.js';

const database = freshDatabase();
const lab = requestsLab(database);

/** A service's own connection, by the plain driver. */
async function service(
  uri = database.uri,
  options: mongo.MongoClientOptions = {},
): Promise<{ client: mongo.MongoClient; db: mongo.Db }> {
  const client = await mongo.MongoClient.connect(uri, options);
  atEnd(() => client.close());
  return { client, db: client.db() };
}

const end = (id: mongo.ObjectId, status = 'succeeded') =>
  lab.requests.updateOne({ _id: id }, { $set: { status, result: resultOf({ updated: 1 }) } });

/** Change streams that are open on the requests of this database. */
async function openStreams(): Promise<number> {
  const operations = await database.db.client
    .db('admin')
    .aggregate([
      { $currentOp: { allUsers: true, idleCursors: true } },
      {
        $match: {
          ns: `${database.name}.sync_requests`,
          $or: [
            { 'cursor.originatingCommand.pipeline.0.$changeStream': { $exists: true } },
            { 'originatingCommand.pipeline.0.$changeStream': { $exists: true } },
          ],
        },
      },
    ])
    .toArray();
  return operations.length;
}

const faultOf = (promise: Promise<unknown>): Promise<Fault> =>
  promise.then(
    () => expect.unreachable('it must fail'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(Fault);
      return error as Fault; // as the line above says
    },
  );

describe('inserting a request from a Node service', () => {
  it('gives the id of a request that a worker then does, and its end', async () => {
    const { db } = await service();
    await lab.worker({ runner: quickRunner(() => resultOf({ updated: 2 })) });

    const id = await requests.insert(db, { command: 'syncByIds', ids: ['cus_1', 'cus_2'] });
    const ended = await requests.result(db, id, { timeoutMs: 10_000 });

    expect(ended).toMatchObject({ _id: id, status: 'succeeded', result: { updated: 2 } });
  });

  it('names every fault, and inserts nothing', async () => {
    const { db } = await service();
    const before = await lab.requests.countDocuments();

    const nonsense = { command: 'syncByIds', ids: ['cus_1', '', 'a\0'], maxAttempts: 0 } as const;
    const fault = await faultOf(requests.insert(db, nonsense));

    expect(fault).toMatchObject({ code: 'invalid_request', kind: 'terminal' });
    for (const field of ['ids[1]', 'ids[2]', 'maxAttempts'])
      expect(fault.message).toContain(`${field} must be`);
    expect(await lab.requests.countDocuments()).toBe(before);
  });

  it('says by its code that a dedupeKey is taken', async () => {
    await ensureRequestIndexes(await lab.connect());
    const { db } = await service();
    const once = { command: 'softDelete', stripeId: 'cus_1', dedupeKey: 'invoice-7' } as const;
    await requests.insert(db, once);

    const fault = await faultOf(requests.insert(db, once));

    expect(fault).toMatchObject({ code: 'duplicate_request', kind: 'terminal' });
  });

  it('takes an _id that is given, inserts it once, and waits for it', async () => {
    const { db } = await service();
    await lab.worker({ runner: quickRunner(() => resultOf({ deleted: 1 })) });
    const named = { _id: 'nightly-1', command: 'softDelete', stripeId: 'cus_1' } as const;

    const id = await requests.insert(db, named);

    expect(id).toBe('nightly-1');
    expect(await requests.result(db, 'nightly-1', { timeoutMs: 10_000 })).toMatchObject({
      _id: 'nightly-1',
      result: { deleted: 1 },
    });
    const fault = await faultOf(requests.insert(db, named));
    expect(fault).toMatchObject({
      code: 'duplicate_request',
      message: 'A request with this _id already exists',
    });
  });

  it("says of a unique index of the service's own that MongoDB refused it, not that a dedupeKey is taken", async () => {
    const own = requestsLab(freshDatabase());
    await own.requests.createIndex({ stripeId: 1 }, { unique: true }, {});
    const { db } = await service(database.uri.replace(database.name, own.requests.dbName));
    const request = { command: 'softDelete', stripeId: 'cus_1' } as const;
    await requests.insert(db, request);

    expect(await faultOf(requests.insert(db, request))).toMatchObject({
      code: 'mongodb_rejected',
      message: expect.stringContaining('MongoDB refused inserting a request') as string,
    });
  });

  it("takes the database of a service's mongoose connection, and does not change what it is given", async () => {
    const connection = await mongoose.createConnection(database.uri).asPromise();
    atEnd(() => connection.close());
    const given = { command: 'syncAll', dryRun: true } as const;

    const id = await requests.insert(connection.db!, given);

    expect(await lab.read(id)).toEqual({ _id: id, ...given });
    expect(given).not.toHaveProperty('_id');
  });
});

describe('waiting for requests to end', () => {
  it('has one change stream however many wait, and none when nobody does', async () => {
    const { db, client } = await service();
    const ids = await lab.insert(...Array.from({ length: 300 }, () => ({ command: 'syncAll' })));

    // Databases of one client are one, however often they are asked for.
    const all = Promise.all(ids.map((id) => requests.result(client.db(db.databaseName), id)));
    await until(async () => (await openStreams()) > 0, { what: 'the change stream' });
    const streams = await openStreams();
    await lab.requests.updateMany({ _id: { $in: ids } }, { $set: { status: 'succeeded' } });

    expect((await all).map(({ _id }) => String(_id))).toEqual(ids.map(String));
    expect(streams).toBe(1);
    await until(async () => (await openStreams()) === 0, { what: 'the change stream to close' });
  });

  it('leaves no change stream behind when the client is closed as soon as the request has ended', async () => {
    await until(async () => (await openStreams()) === 0, { what: 'the streams of other tests to close' });
    for (let round = 0; round < 20; round += 1) {
      const { db, client } = await service();
      const [id] = (await lab.insert({ command: 'syncAll' })) as [mongo.ObjectId];
      const result = requests.result(db, id);
      await end(id);
      await result;
      // A busy process: answers of the server that have come are not seen before the close.
      for (const busyFrom = performance.now(); performance.now() - busyFrom < 30;);
      await client.close();
    }

    await until(async () => (await openStreams()) === 0, { what: 'the change streams to close' });
  });

  it('looks at most every 25 ms at what it is asked to wait for, and finds what had ended before', async () => {
    const { db, client } = await service(database.uri, { monitorCommands: true });
    const ids = await lab.insert(...Array.from({ length: 102 }, () => ({ command: 'syncAll' })));
    const waits = ids.slice(0, 2).map((id) => requests.result(db, id));
    await until(async () => (await openStreams()) > 0, { what: 'the change stream' });
    await end(ids[1]!);
    await waits[1];
    await end(ids[50]!);
    const startedMs = performance.now();

    const looks = await countCommands(client, 'find', async () => {
      for (const id of ids.slice(2)) {
        waits.push(requests.result(db, id));
        await lab.read(id);
      }
      await waits[50];
    });

    expect(looks).toBeLessThanOrEqual(Math.ceil((performance.now() - startedMs) / 25) + 1);
    await lab.requests.updateMany({ _id: { $in: ids } }, { $set: { status: 'succeeded' } });
    expect((await Promise.all(waits)).map(({ _id }) => String(_id))).toEqual(ids.map(String));
  });

  it('answers several who wait for the same one, and each in its time', async () => {
    const { db } = await service();
    const [id, other] = (await lab.insert({ command: 'syncAll' }, { command: 'syncAll' })) as [
      mongo.ObjectId,
      mongo.ObjectId,
    ];
    const waiting = Promise.all([requests.result(db, id), requests.result(db, id)]);
    const late = requests.result(db, other);

    await end(id, 'partial');
    const both = await waiting;
    await end(other, 'cancelled');

    expect(both.map(({ status }) => status)).toEqual(['partial', 'partial']);
    expect(await late).toMatchObject({ _id: other, status: 'cancelled' });
  });

  it('gives up in time with a fault of its own, and leaves the request alone', async () => {
    const { db } = await service();
    const [id] = (await lab.insert({ command: 'syncAll' })) as [mongo.ObjectId];

    const fault = await faultOf(requests.result(db, id, { timeoutMs: 50 }));

    expect(fault).toMatchObject({ code: 'timeout', kind: 'retryable' });
    expect(await lab.read(id)).toEqual({ _id: id, command: 'syncAll' });
  });

  it('ends with the reason of its signal', async () => {
    const { db } = await service();
    const [id] = (await lab.insert({ command: 'syncAll' })) as [mongo.ObjectId];
    const controller = new AbortController();
    const reason = new Error('the caller has gone');

    const waiting = requests.result(db, id, { signal: controller.signal });
    controller.abort(reason);

    await expect(waiting).rejects.toBe(reason);
    await expect(requests.result(db, id, { signal: controller.signal })).rejects.toBe(reason);
  });

  it('tells of a request that is not there, and of one that is removed meanwhile', async () => {
    const { db } = await service();
    const [id] = (await lab.insert({ command: 'syncAll' })) as [mongo.ObjectId];

    const never = await faultOf(requests.result(db, new mongo.ObjectId()));
    const removed = faultOf(requests.result(db, id));
    await until(async () => (await openStreams()) > 0, { what: 'the change stream' });
    await lab.requests.deleteOne({ _id: id });

    expect(never.code).toBe('not_found');
    expect((await removed).code).toBe('not_found');
  });

  it('finds by polling what the change stream does not tell', async () => {
    const { db } = await service();
    const [id] = (await lab.insert({ command: 'syncAll' })) as [mongo.ObjectId];
    // Every stream that is opened ends at once.
    await database.failCommand({ failCommands: ['aggregate'], errorCode: 286 });

    const waiting = requests.result(db, id, { timeoutMs: 10_000 });
    await end(id);

    expect(await waiting).toMatchObject({ status: 'succeeded' });
  });

  it('polls where there are no change streams, on a standalone server', async () => {
    const standalone = await startStandalone();
    const { db } = await service(standalone.uriFor('stripe'));
    const id = await requests.insert(db, { command: 'syncAll' });

    const waiting = requests.result(db, id, { timeoutMs: 10_000 });
    await db.collection('sync_requests').updateOne({ _id: id }, { $set: { status: 'succeeded' } });

    expect(await waiting).toMatchObject({ _id: id, status: 'succeeded' });
  });

  it('goes on waiting while MongoDB does not answer', async () => {
    const { db } = await service();
    const [id] = (await lab.insert({ command: 'syncAll' })) as [mongo.ObjectId];
    const failpoint = await database.failCommand({ failCommands: ['find'], closeConnection: true });

    const waiting = requests.result(db, id, { timeoutMs: 10_000 });
    await until(async () => (await failpoint.timesEntered()) >= 2, { what: 'reads that fail' });
    await failpoint.off();
    await end(id);

    expect(await waiting).toMatchObject({ status: 'succeeded' });
  });

  it('ends when its client is closed, instead of waiting for ever', async () => {
    const { db, client } = await service();
    const [id] = (await lab.insert({ command: 'syncAll' })) as [mongo.ObjectId];

    const waiting = faultOf(requests.result(db, id));
    await until(async () => (await openStreams()) > 0, { what: 'the change stream' });
    await client.close();

    expect(await waiting).toMatchObject({ code: 'mongodb_unavailable', kind: 'terminal' });
    expect((await faultOf(requests.result(db, id))).code).toBe('mongodb_unavailable');
  });

  it('asks of a driver no more than its shape', async () => {
    const { db } = await service();
    const [id] = (await lab.insert({ command: 'syncAll', status: 'failed' })) as [mongo.ObjectId];
    const shape: RequestsDatabase = {
      databaseName: db.databaseName,
      collection: (name) => db.collection(name),
    };

    expect(await requests.result(shape, id)).toMatchObject({ _id: id, status: 'failed' });
  });
});
