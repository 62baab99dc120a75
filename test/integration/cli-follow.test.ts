import { mongo } from 'mongoose';
import { beforeAll, describe, expect, it } from 'vitest';
import { followToEnd } from '../../src/cli/follow.js';
import type { RequestCollection, SyncRequestDocument } from '../../src/requests/request.js';
import type { RequestView } from '../../src/requests/view.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase } from '../support/database.js';
import { startStandalone } from '../support/mongodb.js';
import { until } from '../support/until.js';

const database = freshDatabase();
let requests: RequestCollection;

const requestsAt = async (uri: string): Promise<RequestCollection> => {
  const client = await mongo.MongoClient.connect(uri);
  atEnd(() => client.close());
  return client.db().collection<SyncRequestDocument>('sync_requests');
};

beforeAll(async () => {
  requests = await requestsAt(database.uri);
});

/** Follows, and keeps what was looked at. */
function follow(collection: RequestCollection, ids: readonly mongo.ObjectId[]) {
  const stop = new AbortController();
  const looks: (readonly RequestView[])[] = [];
  const ended = followToEnd(collection, ids, {
    signal: stop.signal,
    patienceMs: 5_000,
    onLook: async (seen) => void looks.push(seen),
  });
  ended.catch(() => undefined); // asserted on later
  const looked = (times: number) => until(() => looks.length >= times, { what: `${times} looks` });
  return { stop, looks, looked, ended };
}

const insert = async (collection: RequestCollection, fields: Partial<SyncRequestDocument> = {}) => {
  const _id = new mongo.ObjectId();
  await collection.insertOne({ _id, command: 'syncAll', ...fields });
  return _id;
};

const set = (collection: RequestCollection, _id: mongo.ObjectId, fields: Partial<SyncRequestDocument>) =>
  collection.updateOne({ _id }, { $set: fields });

describe('following requests', () => {
  it('ends when all have ended, in the order that was asked for, without ids and batches', async () => {
    const first = await insert(requests, { command: 'syncByIds', ids: ['cus_1'] });
    const second = await insert(requests, { command: 'syncBatch', batch: [{ id: 'cus_1' }] });
    const { looked, ended } = follow(requests, [second, first]);

    await looked(1);
    await set(requests, first, { status: 'partial' });
    await looked(3);
    await set(requests, second, { status: 'succeeded' });

    expect(await ended).toEqual([
      { _id: second, command: 'syncBatch', status: 'succeeded' },
      { _id: first, command: 'syncByIds', status: 'partial' },
    ]);
  });

  it('shows the scan that runs for another, and ends with the one that was asked for', async () => {
    const running = await insert(requests, { status: 'running' });
    const waiting = await insert(requests);
    const { looked, looks, ended } = follow(requests, [waiting]);
    await looked(1);

    await set(requests, waiting, { waitsFor: running });
    await until(() => looks.some(([seen]) => seen?._id.equals(running)), { what: 'the other to be seen' });
    await requests.updateOne(
      { _id: waiting },
      { $set: { status: 'coalesced', coalescedInto: running }, $unset: { waitsFor: 1 } },
    );

    expect(await ended).toMatchObject([{ _id: waiting, status: 'coalesced', coalescedInto: running }]);
  });

  it('says so when a request is removed before its end was seen', async () => {
    const id = await insert(requests);
    const { looked, ended } = follow(requests, [id]);

    await looked(1);
    await requests.deleteOne({ _id: id });

    await expect(ended).rejects.toMatchObject({
      code: 'not_found',
      message: `Request ${id.toHexString()} was removed before its end was seen`,
    });
  });

  it('ends at once with the reason of an abort, and leaves the request alone', async () => {
    const id = await insert(requests);
    const { stop, looked, ended } = follow(requests, [id]);

    await looked(1);
    stop.abort(new Error('enough'));

    await expect(ended).rejects.toThrow('enough');
    expect(await requests.findOne({ _id: id })).toEqual({ _id: id, command: 'syncAll' });
  });

  it('goes on when MongoDB cuts connections', async () => {
    const id = await insert(requests, { status: 'running' });
    const { looked, looks, ended } = follow(requests, [id]);
    await looked(1);

    const cut = await database.failCommand({
      failCommands: ['find', 'getMore', 'aggregate'],
      times: 6,
      closeConnection: true,
    });
    await until(async () => (await cut.timesEntered()) >= 6, { what: 'six cut connections' });
    await looked(looks.length + 1);
    await set(requests, id, { status: 'succeeded' });

    expect(await ended).toMatchObject([{ status: 'succeeded' }]);
  });

  it('needs no change stream: a standalone server is asked again and again', async () => {
    const standalone = await startStandalone();
    const alone = await requestsAt(standalone.uriFor('follow'));
    const id = await insert(alone);
    const { looked, ended } = follow(alone, [id]);

    await looked(5);
    await set(alone, id, { status: 'succeeded' });

    expect(await ended).toMatchObject([{ _id: id, status: 'succeeded' }]);
  });
});
