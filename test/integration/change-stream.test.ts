// Follows a real change stream: it keeps its place where it is asked to, and leaves nothing open on the
// server.
import { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { ChangeStreamFollower, type StreamEnd, type StreamPosition } from '../../src/mongo/change-stream.js';
import { atEnd } from '../support/cleanup.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { until } from '../support/until.js';

const pipeline = [{ $project: { 'documentKey._id': 1 } }];

interface Inserted {
  readonly documentKey?: { readonly _id: unknown };
}

/** A follower of `things`, and all that it has told. */
async function following({ uri }: FreshDatabase, resume?: { readonly from: StreamPosition | undefined }) {
  const client = await mongo.MongoClient.connect(uri);
  atEnd(() => client.close());
  const told: unknown[] = [];
  const tokens: unknown[] = [];
  const ends: StreamEnd[] = [];
  let openings = 0;
  const follower = new ChangeStreamFollower<Inserted>({
    collection: () => client.db().collection('things'),
    pipeline,
    ...(resume && { resume }),
    onOpened: () => (openings += 1),
    onEvent: ({ documentKey }, token) => {
      told.push(documentKey?._id ?? 'invalidate');
      tokens.push(token);
    },
    onEnded: (end) => void ends.push(end),
  });
  atEnd(() => follower.close());
  return { follower, told, tokens, ends, openings: () => openings };
}

const insert = async ({ db }: FreshDatabase, ...ids: readonly number[]) => {
  for (const _id of ids) await db.collection<{ _id: number }>('things').insertOne({ _id });
};

const opened = (follower: ChangeStreamFollower<Inserted>) =>
  until(() => follower.isOpen, { what: 'the stream to open' });

/** Cursors of change streams that the server has on the collection. */
async function cursors({ db, name }: FreshDatabase): Promise<number> {
  const found = await db.client
    .db('admin')
    .aggregate([
      { $currentOp: { allUsers: true, idleCursors: true } },
      {
        $match: {
          ns: `${name}.things`,
          'cursor.originatingCommand.pipeline.0.$changeStream': { $exists: true },
        },
      },
    ])
    .toArray();
  return found.length;
}

describe('a follower', () => {
  test('that keeps its place misses nothing while its stream is dead, and tells nothing twice', async () => {
    const database = freshDatabase();
    const { follower, told, ends } = await following(database, { from: undefined });
    await opened(follower);
    await insert(database, 1);
    await until(() => told.length === 1, { what: 'the first event' });

    const dead = await database.failCommand({ failCommands: ['getMore', 'aggregate'], errorCode: 1 });
    await until(() => ends.length > 0, { what: 'the end of the stream' });
    await insert(database, 2, 3);
    await dead.off();

    await until(() => told.length >= 3, { what: 'what has happened meanwhile' });
    expect(told).toEqual([1, 2, 3]);
    expect(ends.every(({ isFinal }) => !isFinal)).toBe(true);
  });

  test('goes on in a later life from the token of the last event', async () => {
    const database = freshDatabase();
    const first = await following(database, { from: undefined });
    await opened(first.follower);
    await insert(database, 1, 2, 3);
    await until(() => first.told.length === 3, { what: 'three events' });
    first.follower.close();
    await insert(database, 4);

    const second = await following(database, { from: { resumeAfter: first.tokens[1] } });

    await until(() => second.told.length === 2, { what: 'the events behind the token' });
    expect(second.told).toEqual([3, 4]);
    expect(first.told).toEqual([1, 2, 3]);
  });

  test('that keeps its place ends once and for good when the server no longer has it', async () => {
    const database = freshDatabase();
    const { follower, ends } = await following(database, { from: undefined });
    await opened(follower);

    await database.failCommand({ failCommands: ['getMore'], errorCode: 286, times: 1 });

    await until(() => ends.length > 0, { what: 'the end' });
    follower.close();
    expect(ends).toMatchObject([{ isFinal: true, failures: 1 }]);
    expect(follower.isOpen).toBe(false);
  });

  test('that keeps its place goes on after its collection was dropped', async () => {
    const database = freshDatabase();
    const { follower, told, openings } = await following(database, { from: undefined });
    await opened(follower);
    await insert(database, 1);
    await until(() => told.length === 1, { what: 'the first event' });

    await database.db.collection('things').drop();
    await insert(database, 2);

    await until(() => told.at(-1) === 2, { what: 'the event after the drop' });
    expect(openings()).toBe(2);
  });

  test('that is closed while its stream is being opened leaves no cursor on the server', async () => {
    const database = freshDatabase();
    const slow = await database.failCommand({
      failCommands: ['aggregate'],
      namespace: `${database.name}.things`,
      blockConnection: true,
      blockTimeMS: 300,
    });
    const { follower, told, openings } = await following(database);
    await until(async () => (await slow.timesEntered()) > 0, { what: 'the opening' });

    follower.close();

    await until(async () => (await cursors(database)) === 0, { what: 'the cursor to go', timeoutMs: 3_000 });
    expect(openings()).toBe(0);
    expect(told).toEqual([]);
    await slow.off();
  });
});
