// Wake-ups: prompt, few, and never what correctness rests on, whatever becomes of the change stream.
import { describe, expect, test } from 'vitest';
import { type WakeUp, WakeUps } from '../../src/requests/worker/wake-ups.js';
import { atEnd } from '../support/cleanup.js';
import { type FreshDatabase, freshDatabase, ours } from '../support/database.js';
import { startStandalone } from '../support/mongodb.js';
import { heldRunner, quickRunner, requestsLab, type RequestsLab } from '../support/requests.js';
import { until } from '../support/until.js';

/** Slow to poll: what is quick was woken. */
const slow = { pollIntervalMs: 60_000, leaseMs: 300_000 };

/** A feed that is open, and what it has said since. */
async function openFeed(lab: RequestsLab): Promise<WakeUp[]> {
  const events: WakeUp[] = [];
  const place = await lab.connect();
  const feed = new WakeUps({
    database: place,
    logger: lab.logger,
    onWakeUp: (wakeUp) => void events.push(wakeUp),
  });
  atEnd(() => feed.close());
  feed.start();
  await until(() => events.length === 1, { what: 'the feed to open' });
  expect(events).toMatchObject([{ kind: 'opened' }]);
  return events;
}

const opened = (events: readonly WakeUp[]): number => events.filter(({ kind }) => kind === 'opened').length;

test('the driver tells the last event of an answer from the others, which following rests on', async () => {
  const lab = requestsLab(freshDatabase());
  const stream = lab.requests.watch([], { maxAwaitTimeMS: 100 });
  atEnd(() => stream.close());
  await stream.tryNext();
  await lab.insert(...Array.from({ length: 3 }, () => ({ command: 'softDelete', stripeId: 'cus_1' })));

  const isFollowed: boolean[] = [];
  await until(
    async () => {
      const event = await stream.tryNext();
      if (event) isFollowed.push(stream.resumeToken === event._id);
      return isFollowed.length === 3;
    },
    { what: 'three events' },
  );

  expect(isFollowed).toEqual([true, true, false]);
});

describe('a wake-up', () => {
  test('comes at once, long before the poll', async () => {
    const lab = requestsLab(freshDatabase());
    const waits: number[] = [];
    await lab.worker({
      runner: quickRunner(),
      feed: true,
      settings: slow,
      observer: { requestClaimed: ({ waitSeconds }) => void waits.push(waitSeconds) },
    });
    const [first] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });
    await lab.ended(first!, 20_000);

    const [second] = await lab.insert({ command: 'softDelete', stripeId: 'cus_2' });

    await lab.ended(second!, 2_000);
    expect(waits[1]).toBeLessThan(0.5);
  });

  test('comes for what is inserted, set back to pending, cancelled or inserted with nonsense, and tells where it belongs', async () => {
    const lab = requestsLab(freshDatabase());
    const events = await openFeed(lab);

    const [scan, small, odd, oddStatus, done, huge] = await lab.insert(
      { command: 'syncAll' },
      { command: 'softDelete', status: 'pending' },
      { command: ['syncAll'] },
      { command: 'syncAll', status: 'waiting' },
      { command: 'syncAll', status: 'failed' },
      { command: 'syncAll', junk: 'x'.repeat(16 * 1024 * 1024 - 1_000) },
    );
    await lab.requests.updateOne({ _id: done! }, { $set: { status: 'pending' } });
    await lab.requests.updateOne({ _id: done! }, { $set: { cancel: true } });

    await until(() => events.length === 9, { what: 'all events' });
    expect(events).toMatchObject([
      { kind: 'opened' },
      { kind: 'pending', id: scan, lane: 'scan' },
      { kind: 'pending', id: small, lane: 'small' },
      { kind: 'pending', id: odd, lane: 'unusable' },
      { kind: 'pending', id: oddStatus, lane: 'unusable' },
      { kind: 'pending', id: done, lane: 'scan' },
      { kind: 'pending', id: huge, lane: 'scan' },
      { kind: 'pending', id: done },
      { kind: 'cancel', id: done },
    ]);
  });

  test('that is lost is made up for by the poll', async () => {
    const lab = requestsLab(freshDatabase());
    await lab.worker({ runner: quickRunner(), feed: false });

    const [id] = await lab.insert({ command: 'syncAll' });

    expect(await lab.ended(id!, 2_000)).toMatchObject({ status: 'succeeded' });
  });

  test('is not caused by what the workers write, a scan least of all', async () => {
    const lab = requestsLab(freshDatabase());
    const events = await openFeed(lab);
    const changes: unknown[] = [];
    const all = lab.requests.watch();
    atEnd(() => all.close());
    all.on('change', (change) => void changes.push(change));
    const runner = heldRunner();
    await lab.worker({ runner, settings: { leaseMs: 2_000 } });

    const [id] = await lab.insert({ command: 'syncAll' });
    const scan = await runner.nth(1);
    await until(
      () => {
        scan.context.onProgress({ done: changes.length, estimated: 100, ratio: undefined });
        return changes.length >= 6;
      },
      { what: 'renewals and progress' },
    );
    scan.succeed();
    await lab.ended(id!);
    const [last] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });

    await until(() => JSON.stringify(events).includes(String(last)), { what: 'the last event' });
    expect(events).toMatchObject([
      { kind: 'opened' },
      { kind: 'pending', id, lane: 'scan' },
      { kind: 'pending', id: last, lane: 'small' },
    ]);
  });

  test('stops a request of another process, and ends one that waits', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner, feed: true, settings: { ...slow, concurrency: 1 } });
    const [running] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });
    const run = await runner.nth(1);
    const [waiting] = await lab.insert({ command: 'softDelete', stripeId: 'cus_2' });

    await lab.requests.updateOne({ _id: waiting! }, { $set: { cancel: true } });
    await lab.ended(waiting!, 2_000);
    expect(run.isOver).toBe(false);
    await lab.requests.updateOne({ _id: running! }, { $set: { cancel: true } });

    expect(await lab.ended(running!, 2_000)).toMatchObject({ status: 'cancelled' });
    expect(await lab.read(waiting!)).toMatchObject({ status: 'cancelled' });
    expect(runner.runs).toHaveLength(1);
  });
});

describe('a change stream that ends', () => {
  test.each([
    [286, 'ChangeStreamHistoryLost'],
    [280, 'ChangeStreamFatalError'],
    [136, 'CappedPositionLost'],
  ])('with %i (%s) is opened again', async (errorCode) => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const events = await openFeed(lab);

    const failpoint = await database.failCommand({ failCommands: ['getMore'], errorCode, times: 1 });

    await until(() => opened(events) === 2, { what: 'the feed to open again', timeoutMs: 5_000 });
    expect(await failpoint.timesEntered()).toBe(1);
    const [id] = await lab.insert({ command: 'syncAll' });
    await until(() => JSON.stringify(events).includes(String(id)), {
      what: 'the next event',
      timeoutMs: 2_000,
    });
  });

  test('as its collection was dropped is opened again', async () => {
    const lab = requestsLab(freshDatabase());
    await lab.insert({ command: 'syncAll', status: 'succeeded' });
    const events = await openFeed(lab);

    await lab.requests.drop();

    await until(() => opened(events) === 2, { what: 'the feed to open again', timeoutMs: 5_000 });
    const [id] = await lab.insert({ command: 'syncAll' });
    await until(() => JSON.stringify(events).includes(String(id)), {
      what: 'the next event',
      timeoutMs: 2_000,
    });
  });

  test('again and again is tried at most once a second, logged once, and loses no request', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    await lab.worker({ runner: quickRunner(), feed: true });
    const failpoint = await database.failCommand({ failCommands: ['getMore', 'aggregate'], errorCode: 280 });
    const from = performance.now();

    // One stream wakes, another one stamps insertions.
    await until(async () => (await failpoint.timesEntered()) >= 5, { what: 'three tries of a stream' });

    expect(performance.now() - from).toBeGreaterThan(1_900);
    const [id] = await lab.insert({ command: 'syncAll' });
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded' });
    expect(lab.lines.filter(({ msg }) => msg.startsWith('Change stream ended'))).toHaveLength(1);
    await failpoint.off();
  });
});

test('without a replica set requests are found by polling, and one warning names the setting', async () => {
  const server = await startStandalone();
  const { default: mongoose } = await import('mongoose');
  const connection = await mongoose.createConnection(server.uriFor('test')).asPromise();
  atEnd(() => connection.close());
  const database: FreshDatabase = { ...freshDatabase(), db: connection.db! };
  const lab = requestsLab(database);
  const runner = quickRunner();
  await lab.worker({ runner, database: ours(connection.db!), feed: true });

  const ids = await lab.insert({ command: 'syncAll' }, { command: 'softDelete', stripeId: 'cus_1' });

  for (const id of ids) expect(await lab.ended(id)).toMatchObject({ status: 'succeeded' });
  const warnings = lab.lines.filter(({ level }) => level === 'warn' || level === 'error');
  expect(warnings.map(({ msg }) => msg)).toEqual([expect.stringContaining('requests.pollIntervalMs')]);
});
