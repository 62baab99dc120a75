// Where a batch stands among all insertions. The truth is a change stream of the test's own, and each run tells what it was given.
import { once } from 'node:events';
import { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { Seals } from '../../src/requests/insertion.js';
import { InsertionFollower } from '../../src/requests/upkeep/insertion-follower.js';
import { followLeaseMs, InsertionState } from '../../src/requests/upkeep/insertion-state.js';
import type { InsertionOrder } from '../../src/sync/telling.js';
import { atEnd } from '../support/cleanup.js';
import { type FreshDatabase, freshDatabase, ours } from '../support/database.js';
import { startStandalone } from '../support/mongodb.js';
import {
  type AnyDocument,
  heldRunner,
  idOfAge,
  quickRunner,
  requestsLab,
  type RequestsLab,
  resultOf,
  type TestRunner,
} from '../support/requests.js';
import { until } from '../support/until.js';

const batch = (name = 'X'): AnyDocument => ({ command: 'syncBatch', batch: [{ id: 'cus_1', name }] });

/** Slow to poll: what is quick was woken. */
const slow = { pollIntervalMs: 60_000, leaseMs: 300_000 };

interface Truth {
  /** Of the last insertion of the id. */
  of: (id: unknown) => Promise<InsertionOrder>;
  /** Of every insertion so far, in the order of the stream. */
  all: () => readonly string[];
}

/** What MongoDB's stream says of insertions from now on. */
async function watchInsertions(lab: RequestsLab): Promise<Truth> {
  const seen: { readonly id: string; readonly token: string; readonly at: Date }[] = [];
  const stream = lab.requests.watch([{ $match: { operationType: { $in: ['insert', 'replace'] } } }], {
    maxAwaitTimeMS: 100,
  });
  atEnd(() => stream.close());
  const opened = once(stream, 'resumeTokenChanged');
  stream.on('change', (event) => {
    if (event.operationType !== 'insert' && event.operationType !== 'replace') return;
    const { _data } = event._id as { readonly _data: string };
    seen.push({ id: String(event.documentKey._id), token: _data, at: event.wallTime! });
  });
  await opened;
  return {
    of: async (id) => {
      const { token, at } = await until(() => seen.findLast((each) => each.id === String(id)), {
        what: 'the event',
      });
      return { kind: 'known', insertion: { token, at } };
    },
    all: () => seen.map(({ token }) => token),
  };
}

/** What the last run of the request was given. */
const givenTo = async (runner: TestRunner, id: unknown, timeoutMs = 15_000): Promise<InsertionOrder> =>
  until(
    () =>
      runner.runs.findLast(({ context }) => String(context.requestId) === String(id))?.context.insertionOrder,
    { what: 'the run', timeoutMs },
  );

interface StateDocument {
  _id: string;
  [field: string]: unknown;
}
const stateOf = ({ db }: FreshDatabase) => db.collection<StateDocument>('sync_state');
const ofOrder = { _id: 'insertion-order' };

/** Insertions are followed: what is inserted from now on has an event that is read. */
const followed = (database: FreshDatabase): Promise<unknown> =>
  until(async () => (await stateOf(database).findOne(ofOrder))?.['position'], { what: 'the first place' });

/** A daemon has run here and stopped: insertions have a place from which they are followed. */
async function afterADaemon(database: FreshDatabase): Promise<RequestsLab> {
  const lab = requestsLab(database);
  const worker = await lab.worker({ runner: quickRunner(), feed: true });
  await followed(database);
  await worker.drain({ withinMs: 5_000 });
  return lab;
}

/** A follower as each daemon has it, without the rest. */
async function startFollower(lab: RequestsLab, owner: string) {
  const place = await lab.connect();
  const state = new InsertionState(place, owner);
  const seals = new Seals(() => state.secret());
  const follower = new InsertionFollower({
    database: place,
    state,
    seals,
    logger: lab.logger,
    onHandled: () => undefined,
  });
  atEnd(() => follower.stop());
  follower.start();
  return { follower, state, seals };
}

describe('a batch that is inserted while a daemon runs', () => {
  test('is given its event at once, and keeps it on the request', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const truth = await watchInsertions(lab);
    const runner = quickRunner();
    await lab.worker({ runner, feed: true, settings: slow });
    await followed(database);
    const [first] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });
    await lab.ended(first!, 20_000);

    const [id] = await lab.insert(batch());

    const request = await lab.ended(id!, 2_000);
    const known = await truth.of(id);
    expect(await givenTo(runner, id)).toEqual(known);
    expect({ kind: 'known', insertion: request['inserted'] }).toMatchObject(known);
    expect((await lab.read(first!))['inserted']).toBeUndefined();
  });

  test('is given its event when a search finds it, as all workers were busy', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const truth = await watchInsertions(lab);
    const runner = heldRunner();
    await lab.worker({ runner, feed: true, settings: { leaseMs: 300_000, concurrency: 1 } });
    await followed(database);
    const [blocker] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });
    const blocking = await runner.nth(1);

    const ids = await lab.insert(batch(), batch(), batch());
    for (const id of ids) await truth.of(id);
    blocking.succeed();
    await lab.ended(blocker!);
    for (let n = 2; n <= 4; n += 1) (await runner.nth(n)).succeed();

    for (const id of ids) expect(await givenTo(runner, id)).toEqual(await truth.of(id));
  });

  test('is told apart from others of one insertMany and one transaction, in their order', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const truth = await watchInsertions(lab);
    const runner = quickRunner();
    await lab.worker({ runner, feed: true, settings: { concurrency: 10 } });
    await followed(database);

    const many = await lab.insert(...Array.from({ length: 30 }, () => batch()));
    const inOne = Array.from({ length: 5 }, () => new mongo.ObjectId()).reverse();
    const session = database.db.client.startSession();
    await session.withTransaction(async () => {
      for (const _id of inOne) await lab.requests.insertOne({ _id, ...batch() }, { session });
    });
    await session.endSession();
    const [last] = await lab.insert(batch());

    const tokens: string[] = [];
    for (const id of [...many, ...inOne, last!]) {
      await lab.ended(id);
      const order = await givenTo(runner, id);
      expect(order).toEqual(await truth.of(id));
      tokens.push(order.kind === 'known' ? order.insertion.token : '');
    }
    expect(tokens).toEqual([...tokens].sort());
    expect(new Set(tokens).size).toBe(36);
  });

  test('that was replaced or inserted again stands where it was told last', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const truth = await watchInsertions(lab);
    const runner = quickRunner();
    await lab.worker({ runner, feed: true });
    await followed(database);
    const [id] = await lab.insert(batch('first'));
    await lab.ended(id!);
    const first = await truth.of(id);

    await lab.requests.replaceOne({ _id: id! }, batch('second'));
    await until(() => runner.runs.length === 2, { what: 'the second run' });
    const second = await truth.of(id);
    expect(await givenTo(runner, id)).toEqual(second);
    await lab.ended(id!);
    await lab.requests.deleteOne({ _id: id! });
    await lab.requests.insertOne({ _id: id!, ...batch('third') });
    await until(() => runner.runs.length === 3, { what: 'the third run' });

    expect(await givenTo(runner, id)).toEqual(await truth.of(id));
    expect(new Set([first, second, await truth.of(id)].map((each) => JSON.stringify(each))).size).toBe(3);
  });
});

describe('a batch keeps the place of its insertion', () => {
  test('when a replica releases it and one without change stream goes on', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const truth = await watchInsertions(lab);
    const runner = heldRunner();
    const first = await lab.worker({ runner, feed: true });
    await followed(database);
    const [id] = await lab.insert(batch());
    await runner.nth(1);
    await first.drain({ withinMs: 100 });

    const next = quickRunner();
    await lab.worker({ runner: next, feed: false });
    await lab.ended(id!);

    expect(await givenTo(next, id)).toEqual(await truth.of(id));
  });

  test('when its replica died with it', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const truth = await watchInsertions(lab);
    const runner = heldRunner();
    // It is busy, and does not look: as if it had died.
    await lab.worker({ runner, feed: true, settings: { ...slow, concurrency: 1 } });
    await followed(database);
    const [id] = await lab.insert(batch());
    await runner.nth(1);

    await lab.requests.updateOne({ _id: id! }, { $set: { 'lease.expiresAt': new Date(0) } });
    const next = quickRunner();
    await lab.worker({ runner: next, feed: false });
    await lab.ended(id!);

    expect(await givenTo(next, id)).toEqual(await truth.of(id));
  });

  test('when it waits for its time, and when its user sets it back to pending', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const truth = await watchInsertions(lab);
    const runner = quickRunner(() => {
      throw new Error('Not this time');
    });
    await lab.worker({ runner, feed: true, settings: { maxAttempts: 1 } });
    await followed(database);
    const [later] = await lab.insert({ ...batch(), runAt: new Date(Date.now() + 1_500) });
    const [cancelled] = await lab.insert({ ...batch(), cancel: true });
    await lab.ended(cancelled!);
    await lab.ended(later!);
    const runs = runner.runs.length;

    await lab.requests.updateMany({}, { $set: { status: 'pending' }, $unset: { cancel: 1 } });
    await until(() => runner.runs.length === runs + 2, { what: 'both to run again' });

    for (const id of [later, cancelled]) expect(await givenTo(runner, id)).toEqual(await truth.of(id));
  });
});

describe('a batch that is inserted while no daemon runs', () => {
  test('is stamped when one starts, before it is claimed', async () => {
    const lab = await afterADaemon(freshDatabase());
    const truth = await watchInsertions(lab);
    const ids = await lab.insert(...Array.from({ length: 40 }, () => batch()));

    const runner = quickRunner();
    await lab.worker({ runner, feed: true });

    for (const id of ids) expect(await givenTo(runner, id)).toEqual(await truth.of(id));
    expect(lab.lines.filter(({ level }) => level === 'warn')).toEqual([]);
  });

  test('is stamped though the last daemon died with its lease', async () => {
    const database = freshDatabase();
    const lab = await afterADaemon(database);
    const truth = await watchInsertions(lab);
    const [id] = await lab.insert(batch());
    await stateOf(database).updateOne(ofOrder, [
      { $set: { owner: 'dead', expiresAt: { $add: ['$$NOW', 4_000] } } },
    ]);

    const runner = quickRunner();
    await lab.worker({ runner, feed: true });

    expect(await givenTo(runner, id)).toEqual(await truth.of(id));
  });

  test('is not kept waiting by a lease from the future', async () => {
    const database = freshDatabase();
    const lab = await afterADaemon(database);
    const truth = await watchInsertions(lab);
    const [id] = await lab.insert(batch());
    await stateOf(database).updateOne(ofOrder, [
      { $set: { owner: 'dead', expiresAt: { $add: ['$$NOW', 3_600_000] } } },
    ]);

    const runner = quickRunner();
    await lab.worker({ runner, feed: true });

    expect(await givenTo(runner, id)).toEqual(await truth.of(id));
  });
});

describe('a stamp that its user wrote', () => {
  const future = { token: `82FFFFFFFF${'0'.repeat(20)}`, at: new Date('2100-01-01') };

  test.each([
    ['without a seal', () => future],
    ['with a seal that was guessed', () => ({ ...future, seal: 'AAAAAAAAAAAAAAAA' })],
    ['of the form of a mark', () => ({ before: new Date(0), seal: 'AAAAAAAAAAAAAAAA' })],
    ['copied from another request', (genuine: unknown) => genuine],
    ['of any other type', () => 'now'],
  ])('%s is overwritten and not believed, woken or found', async (_name, forge) => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const first = await lab.worker({ runner: quickRunner(), feed: true });
    await followed(database);
    const [model] = await lab.insert(batch());
    const forged = forge((await lab.ended(model!))['inserted']);
    const truth = await watchInsertions(lab);

    const [woken] = await lab.insert({ ...batch(), inserted: forged });
    await lab.ended(woken!);
    await first.drain({ withinMs: 5_000 });
    const [found] = await lab.insert({ ...batch(), inserted: forged });
    const runner = quickRunner();
    await lab.worker({ runner, feed: true });
    await lab.ended(found!);

    expect(await givenTo(runner, found)).toEqual(await truth.of(found));
    for (const id of [woken, found]) {
      const known = await truth.of(id);
      await lab.reaching(id!, 'stamped', ({ inserted }) => {
        const { token, at } = (inserted ?? {}) as { readonly token?: string; readonly at?: Date };
        return (
          known.kind === 'known' &&
          token === known.insertion.token &&
          at?.getTime() === known.insertion.at.getTime()
        );
      });
    }
  });
});

describe('the follower', () => {
  test('stores its place only after its stamps are acknowledged, so a takeover loses none', async () => {
    const database = freshDatabase();
    const lab = await afterADaemon(database);
    const truth = await watchInsertions(lab);
    await startFollower(lab, 'dying');
    const before = await until(
      async () => {
        const found = await stateOf(database).findOne({ ...ofOrder, owner: 'dying' });
        return found?.['position'] as { readonly _data: string } | undefined;
      },
      { what: 'the follower' },
    );
    // The place was not stored for so long that the next one is stored as soon as there is one.
    await until(
      () =>
        stateOf(database).findOne({
          ...ofOrder,
          $expr: { $lt: ['$expiresAt', { $add: ['$$NOW', followLeaseMs - 700] }] },
        }),
      { what: 'a place that is due' },
    );
    const refused = await database.failCommand({
      failCommands: ['update'],
      namespace: `${database.name}.sync_requests`,
      errorCode: 11_600,
    });
    const ids = await lab.insert(batch(), batch());
    const tokens = await Promise.all(ids.map((id) => truth.of(id)));
    await until(async () => (await refused.timesEntered()) > 0, { what: 'a stamp that fails' });
    const [first] = tokens;
    const stored = (await stateOf(database).findOne(ofOrder))?.['position'] as typeof before;
    expect(stored._data >= before._data).toBe(true);
    expect(first?.kind === 'known' && stored._data < first.insertion.token).toBe(true);

    // As if it had died: it is not asked to release anything.
    await stateOf(database).updateOne(ofOrder, { $set: { owner: 'nobody', expiresAt: new Date(0) } });
    await refused.off();
    const next = await startFollower(lab, 'next');

    for (const [index, id] of ids.entries()) {
      const { inserted } = await lab.reaching(id, 'stamped', (request) => request['inserted'] !== undefined);
      const known = await next.seals.read(id, inserted);
      expect({ kind: 'known', insertion: known }).toEqual(tokens[index]);
    }
  });

  test('is one replica at a time, and the next one when that stops', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const owner = async (): Promise<unknown> => (await stateOf(database).findOne(ofOrder))?.['owner'];
    const first = await startFollower(lab, 'first');
    await until(async () => (await owner()) === 'first', { what: 'the first' });
    const second = await startFollower(lab, 'second');
    const moved = async (): Promise<unknown> => (await stateOf(database).findOne(ofOrder))?.['expiresAt'];
    const from = await moved();
    await until(async () => String(await moved()) !== String(from), { what: 'a renewal' });
    expect(await second.state.acquire()).toBeUndefined();
    expect(await stateOf(database).findOne(ofOrder)).toMatchObject({ owner: 'first', fence: 1 });

    await first.follower.stop();

    await until(async () => (await owner()) === 'second', { what: 'the second', timeoutMs: 4_000 });
    expect(await stateOf(database).findOne(ofOrder)).toMatchObject({ fence: 2 });
  });

  const placedAt = (_data: string) => (database: FreshDatabase) =>
    stateOf(database).updateOne(ofOrder, { $set: { position: { _data } } });

  test.each([
    // Both streams of a worker are told so.
    [
      'is no longer in the oplog',
      (database: FreshDatabase) =>
        database.failCommand({ failCommands: ['aggregate'], errorCode: 286, times: 2 }),
    ],
    ['lies in the future, as a backup was restored', placedAt('82FFFFFFFF000000012B0229296E04')],
    ['is none', placedAt('nonsense')],
  ])('starts anew where the place that is stored %s, and says so once', async (_name, lose) => {
    const database = freshDatabase();
    const lab = await afterADaemon(database);
    const old = idOfAge(3_600_000);
    await lab.requests.insertOne({ _id: old, ...batch() });
    await lose(database);

    const runner = quickRunner();
    await lab.worker({ runner, feed: true });
    const second = old.getTimestamp().getTime();
    expect(await givenTo(runner, old)).toEqual({
      kind: 'within',
      position: expect.any(String) as string,
      from: new Date(second),
      to: new Date(second + 999),
    });
    const truth = await watchInsertions(lab);
    const [id] = await lab.insert(batch());

    expect(await givenTo(runner, id)).toEqual(await truth.of(id));
    await lab.reaching(old, 'marked', ({ inserted }) => inserted !== undefined);
    const told = lab.lines.filter(({ msg }) => msg.includes('insertions'));
    expect(told).toMatchObject([{ level: 'warn', msg: expect.stringMatching(/starting anew$/) as unknown }]);
  });

  test.each([
    ['the requests', 'sync_requests'],
    ['its own state', 'sync_state'],
  ])('goes on after %s were dropped', async (_name, collection) => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const runner = quickRunner();
    await lab.worker({ runner, feed: true });
    const [before] = await lab.insert(batch());
    await lab.ended(before!);
    await followed(database);

    await database.db.collection(collection).drop();

    const follower = await startFollower(lab, 'another');
    const truth = await watchInsertions(lab);
    await until(
      async () => {
        const [id] = await lab.insert(batch());
        const known = await truth.of(id);
        await lab.ended(id!);
        const { inserted } = await lab.reaching(
          id!,
          'stamped',
          (request) => request['inserted'] !== undefined,
        );
        const read = await follower.seals.read(id!, inserted);
        return JSON.stringify({ kind: 'known', insertion: read }) === JSON.stringify(known);
      },
      { what: 'a stamp that others believe', timeoutMs: 15_000 },
    );
  });
});

describe('without an event a batch goes by its _id', () => {
  test('at once where nobody follows', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner();
    await lab.worker({ runner, feed: false });
    const old = idOfAge(60_000);
    const ahead = idOfAge(-3_600_000);
    const text = 'by its user' as unknown as mongo.ObjectId; // as users choose it
    await lab.insert(...[old, ahead, text].map((_id) => ({ _id, ...batch() })));
    for (const id of [old, ahead, text]) await lab.ended(id, 1_500);

    const second = old.getTimestamp().getTime();
    expect(await givenTo(runner, old)).toEqual({
      kind: 'within',
      position: expect.any(String) as string,
      from: new Date(second),
      to: new Date(second + 999),
    });
    const { context } = runner.runs.find(
      ({ context: { requestId } }) => String(requestId) === String(ahead),
    )!;
    expect(context.insertionOrder).toEqual({
      kind: 'within',
      position: expect.any(String) as string,
      from: context.claimedAt,
      to: context.claimedAt,
    });
    const { createdAt } = await lab.read(text);
    expect(await givenTo(runner, text)).toEqual({ kind: 'within', from: createdAt, to: createdAt });
  });

  test('at once on a server without change streams', async () => {
    const server = await startStandalone();
    const { default: mongoose } = await import('mongoose');
    const connection = await mongoose.createConnection(server.uriFor('test')).asPromise();
    atEnd(() => connection.close());
    const lab = requestsLab({ ...freshDatabase(), db: connection.db! });
    const runner = quickRunner();
    await lab.worker({ runner, database: ours(connection.db!), feed: true });
    await until(() => lab.lines.some(({ msg }) => msg.includes('not a replica set')), {
      what: 'the warning',
    });

    const [id] = await lab.insert(batch());

    expect(await givenTo(runner, id, 1_500)).toMatchObject({ kind: 'within' });
    const warnings = lab.lines.filter(({ level }) => level === 'warn' || level === 'error');
    expect(warnings).toHaveLength(1);
  });

  test('after two seconds where a follower lives and does not come to it, and a warning says so', async () => {
    const database = freshDatabase();
    const lab = await afterADaemon(database);
    await stateOf(database).updateOne(ofOrder, [
      { $set: { owner: 'stuck', expiresAt: { $add: ['$$NOW', 9_000] } } },
    ]);
    const runner = quickRunner();
    await lab.worker({ runner, feed: false });
    const from = performance.now();

    const [id] = await lab.insert(batch());

    expect(await givenTo(runner, id)).toMatchObject({ kind: 'within' });
    expect(performance.now() - from).toBeGreaterThan(1_900);
    expect(lab.lines.filter(({ level }) => level === 'warn').map(({ requestId }) => requestId)).toEqual([
      String(id),
    ]);
  });

  test('after ten seconds where no follower comes to what was inserted before the start', async () => {
    const database = freshDatabase();
    const lab = await afterADaemon(database);
    const stuck = (): Promise<unknown> =>
      stateOf(database).updateOne(ofOrder, [
        { $set: { owner: 'stuck', expiresAt: { $add: ['$$NOW', 5_000] } } },
      ]);
    await stuck();
    const [id] = await lab.insert(batch());
    const runner = quickRunner(() => resultOf());
    await lab.worker({ runner, feed: true });

    await until(
      async () => {
        await stuck();
        return runner.runs.length > 0;
      },
      { what: 'the run', timeoutMs: 20_000 },
    );

    expect(await givenTo(runner, id)).toMatchObject({ kind: 'within' });
  });
});
