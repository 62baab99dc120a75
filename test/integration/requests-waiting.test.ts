// How long requests wait: what is measured at a claim, and what is told while they wait.
import type { mongo } from 'mongoose';
import { beforeEach, describe, expect, test } from 'vitest';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import { readDatabaseStats } from '../../src/status/database-stats.js';
import { callCommandLine } from '../support/cli.js';
import { type FreshDatabase, freshDatabase, ours } from '../support/database.js';
import {
  type AnyDocument,
  heldRunner,
  idOfAge,
  quickRunner,
  requestsLab,
  type RequestsLab,
} from '../support/requests.js';

const small = { command: 'softDelete', stripeId: 'cus_1' };
const hours = 3_600_000;
const ago = (ms: number): Date => new Date(Date.now() - ms);
const attempt = (finishedAt: Date) => ({ attempt: 1, startedAt: finishedAt, finishedAt, owner: 'a' });

let database: FreshDatabase;
let lab: RequestsLab;

beforeEach(async () => {
  database = freshDatabase();
  lab = requestsLab(database);
  await ensureRequestIndexes(await lab.connect());
});

describe('the request that has waited for the longest', () => {
  const oldestSeconds = async (): Promise<number | undefined> => {
    const { oldestPendingAt } = await readDatabaseStats(ours(database.db));
    const { stdout } = await callCommandLine(['status', '--json'], { MONGODB_URI: database.uri });
    const told = (JSON.parse(stdout) as { waiting: { oldestSince: string | null } }).waiting.oldestSince;
    expect(told).toBe(oldestPendingAt?.toISOString() ?? null);
    return oldestPendingAt && (Date.now() - oldestPendingAt.getTime()) / 1_000;
  };

  test.each<[string, AnyDocument[]]>([
    ['an older one came due lately', [{ _id: idOfAge(168 * hours), runAt: ago(60_000) }]],
    ['an older one was put back lately', [{ _id: idOfAge(168 * hours), history: [attempt(ago(60_000))] }]],
    [
      'an older one has ended lately and is set back',
      [{ _id: idOfAge(168 * hours), finishedAt: ago(60_000) }],
    ],
    ['one has an _id that tells no time', [{ _id: 'mine' }]],
    ['one waits for tomorrow', [{ _id: idOfAge(168 * hours), runAt: ago(-24 * hours) }]],
    ['many have an _id that tells no time', Array.from({ length: 150 }, (_, n) => ({ _id: `mine-${n}` }))],
    ["one is another version's", [{ _id: idOfAge(168 * hours), command: 'syncEverything' }]],
    ['another scan runs for one', [{ _id: idOfAge(168 * hours), command: 'syncAll', waitsFor: 'another' }]],
  ])('is told, though %s', async (_name, others) => {
    await lab.insert(...others.map((other) => ({ ...small, ...other })), {
      ...small,
      _id: idOfAge(2 * hours),
    });

    expect((await oldestSeconds())! / 3_600).toBeCloseTo(2, 1);
  });

  test('is told by what a daemon has written where its _id tells nothing', async () => {
    await lab.insert(
      { ...small, _id: 'mine', createdAt: ago(3 * hours) },
      { ...small, _id: idOfAge(2 * hours) },
    );

    expect((await oldestSeconds())! / 3_600).toBeCloseTo(3, 1);
  });

  test('is none where none could be claimed', async () => {
    await lab.insert(
      { ...small, runAt: ago(-hours) },
      { ...small, status: 'running' },
      { ...small, status: 'failed' },
    );

    expect(await oldestSeconds()).toBeUndefined();
  });

  test('is found among many at a small cost', async () => {
    await lab.insert(...Array.from({ length: 3_000 }, () => ({ ...small, status: 'succeeded' })));
    await lab.insert(
      ...Array.from({ length: 3_000 }, (_, n) => ({ ...small, ...(n % 2 && { runAt: ago(n) }) })),
    );
    await database.db.command({ profile: 2 });

    await readDatabaseStats(ours(database.db));

    await database.db.command({ profile: 0 });
    const searches = await database.db
      .collection<mongo.BSON.Document & { _id: mongo.ObjectId }>('system.profile')
      .find({ ns: `${database.name}.sync_requests`, 'command.pipeline.3': { $exists: true } })
      .toArray();
    expect(searches).toHaveLength(2);
    for (const search of searches) expect(search['docsExamined']).toBeLessThanOrEqual(120);
  });
});

describe('the wait that is measured', () => {
  /** Of the one request, by a worker that polls or is woken. */
  const waitOf = async (document: AnyDocument, feed = false): Promise<number> => {
    const waits: number[] = [];
    const observer = {
      requestClaimed: ({ waitSeconds }: { waitSeconds: number }) => void waits.push(waitSeconds),
    };
    const [id] = await lab.insert({ ...small, ...document });
    await lab.worker({ runner: quickRunner(), observer, feed });
    await lab.ended(id!);
    return waits[0]!;
  };

  test.each<[string, AnyDocument]>([
    [
      'set back by hand',
      { status: 'pending', finishedAt: ago(71 * hours), history: [attempt(ago(71 * hours))] },
    ],
    ['set back by hand before it ever ran', { status: 'pending', finishedAt: ago(71 * hours) }],
    ['released a moment ago', { status: 'pending', attempts: 0, history: [attempt(ago(1_000))] }],
    ['due a moment ago', { runAt: ago(1_000) }],
  ])('of one that is old, and was %s, is not since its insertion', async (_name, document) => {
    expect(await waitOf({ _id: idOfAge(72 * hours), ...document })).toBeLessThan(30);
  });

  test('of one that nobody has worked on is since its insertion', async () => {
    expect(await waitOf({ _id: idOfAge(2 * hours), history: 'nonsense' })).toBeCloseTo(7_200, -2);
  });

  test('of one that a change stream told of is since it was set back', async () => {
    const waits: number[] = [];
    const runner = heldRunner();
    await lab.worker({
      runner,
      feed: true,
      settings: { concurrency: 1, pollIntervalMs: 60_000, leaseMs: 60_000 },
      observer: { requestClaimed: ({ waitSeconds }) => void waits.push(waitSeconds) },
    });
    const ended = { ...small, _id: idOfAge(72 * hours), status: 'failed', finishedAt: ago(71 * hours) };
    const [id] = await lab.insert(ended);

    await lab.requests.updateOne({ _id: id! }, { $set: { status: 'pending' } });

    (await runner.nth(1)).succeed();
    await lab.ended(id!);
    expect(waits[0]).toBeLessThan(30);
  });
});
