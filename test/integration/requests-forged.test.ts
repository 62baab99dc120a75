// Anybody may write anything into sync_requests: nonsense is refused by name, nothing is trusted as the daemon's own, and no request lives
// for ever or stands in the way of the others.
import fc from 'fast-check';
import { mongo } from 'mongoose';
import { beforeAll, describe, expect, test } from 'vitest';
import { commandNames } from '../../src/requests/commands.js';
import { isEndStatus } from '../../src/requests/request.js';
import { freshDatabase } from '../support/database.js';
import {
  type AnyDocument,
  quickRunner,
  quickSettings,
  requestsLab,
  type RequestsLab,
} from '../support/requests.js';
import { until } from '../support/until.js';

const small = { command: 'softDelete', stripeId: 'cus_1' };
const millennium = new Date('3000-01-01T00:00:00Z');

/** One worker for the whole file; it may not hang on anything that another test has written. */
const database = freshDatabase();
let lab: RequestsLab;
const runner = quickRunner();
const ended: { command: string; status: string }[] = [];

beforeAll(async () => {
  lab = requestsLab(database);
  await lab.worker({ runner, observer: { requestEnded: (event) => void ended.push(event) } });
});

const faultsOf = (request: AnyDocument): unknown =>
  (request['error'] as { faults?: unknown } | undefined)?.faults;

describe('an invalid request', () => {
  test.each<[string, AnyDocument, unknown[]]>([
    [
      'without a command',
      { stripeId: 'cus_1' },
      [`command must be one of ${commandNames.join(', ')}, got nothing`],
    ],
    ['whose command is a list', { command: ['syncAll'] }, [expect.stringContaining('got a list of 1')]],
    [
      'with several faults',
      { command: 'syncByIds', ids: ['a\0', ''], maxAttempts: 'many', dryRun: 1 },
      [
        expect.stringMatching(/^ids\[0\] /),
        expect.stringMatching(/^ids\[1\] .* got ""$/),
        expect.stringMatching(/^maxAttempts /),
        expect.stringMatching(/^dryRun /),
      ],
    ],
    [
      'with an operator as a value',
      { command: 'softDelete', stripeId: { $gt: '' } },
      [expect.stringContaining('an object')],
    ],
    ['whose runAt is a word', { ...small, runAt: 'tomorrow' }, ['runAt must be a date, got "tomorrow"']],
    [
      'whose runAt is of a type that sorts after dates',
      { ...small, runAt: new mongo.MaxKey() },
      ['runAt must be a date, got a value of type MaxKey'],
    ],
    [
      'whose status is unknown',
      { ...small, status: 'waiting' },
      ['status must be left out or be pending, got "waiting"'],
    ],
    ['whose status is a number', { ...small, status: 7 }, ['status must be left out or be pending, got 7']],
    [
      'whose status is a list',
      { ...small, status: ['pending'] },
      ['status must be left out or be pending, got a list'],
    ],
    ['whose status is an empty list', { ...small, status: [] }, [expect.stringContaining('got a list of 0')]],
    [
      'whose status and body are wrong',
      { command: 'softDelete', status: 'go', stripeId: '' },
      [expect.stringContaining('status'), expect.stringContaining('stripeId')],
    ],
    [
      'with a batch of words',
      { command: 'syncBatch', batch: ['cus_1'] },
      [expect.stringContaining('batch[0]')],
    ],
  ])('%s fails with every fault named', async (_name, document, faults) => {
    const [id, after] = await lab.insert(document, small);

    const request = await lab.ended(id!);

    expect(request).toMatchObject({
      status: 'failed',
      error: { code: 'invalid_request' },
      finishedAt: expect.any(Date) as unknown,
      expireAt: expect.any(Date) as unknown,
    });
    expect(faultsOf(request)).toEqual(faults);
    expect(await lab.ended(after!)).toMatchObject({ status: 'succeeded' });
  });

  test('has nothing of a person in its error or in the log', async () => {
    const canary = 'jane.canary@example.com';
    const ids = await lab.insert(
      { command: 'softDelete', stripeId: canary },
      { command: canary, status: canary },
      { command: 'syncByIds', ids: [canary, { canary }], requestedBy: [canary] },
      { command: 'syncBatch', batch: [{ email: canary }, { id: canary }], dedupeKey: { canary } },
    );

    const errors = await Promise.all(ids.map(async (id) => (await lab.ended(id))['error']));

    expect(JSON.stringify([errors, lab.lines])).not.toMatch(/canary/i);
  });
});

describe('a request that is too large', () => {
  const documents: [string, AnyDocument, string][] = [
    [
      'batch',
      { command: 'syncBatch', batch: [{ id: 'cus_1', x: 'x'.repeat(5 * 1024 * 1024) }] },
      'batch must have at most 4194304 bytes, got a list of 1',
    ],
    [
      'list of ids',
      { command: 'syncByIds', ids: Array.from({ length: 100_000 }, (_, n) => `cus_${n}`) },
      'ids must have at most',
    ],
    ['text', { ...small, requestedBy: 'x'.repeat(1024 * 1024) }, 'requestedBy must have at most 4096 bytes'],
    ['command', { command: 'x'.repeat(1024 * 1024) }, 'command must have at most 1024 bytes'],
    [
      // Nearly 16 MiB: not even a status could be added to it.
      'document',
      { command: 'syncBatch', batch: [{ id: 'cus_1', x: 'x'.repeat(16 * 1024 * 1024 - 200) }] },
      'batch must be a list of 1 to 1000 objects, got a string',
    ],
  ];

  test.each(documents)('as its %s is, fails without being loaded', async (_name, document, fault) => {
    const [id] = await lab.insert(document);

    const request = await lab.ended(id!, 15_000);
    expect(request).toMatchObject({ status: 'failed' });
    expect(faultsOf(request)).toEqual([expect.stringContaining(fault)]);
  });

  test('for fields that nobody reads is worked on all the same', async () => {
    const [id, full] = await lab.insert(
      { ...small, notes: 'x'.repeat(8 * 1024 * 1024) },
      { ...small, notes: 'x'.repeat(16 * 1024 * 1024 - 200) },
    );

    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded' });
    expect(await lab.ended(full!)).toMatchObject({ status: 'succeeded' });
    expect(await lab.read(id!)).toHaveProperty('notes');
  });
});

describe('an unknown command', () => {
  const tomorrows = { command: 'syncEverything' };

  test('is not touched for ten minutes from when it was seen, and fails then', async () => {
    const [waiting, failing] = await lab.insert(tomorrows, tomorrows);

    const seen = await lab.reaching(failing!, 'seen', (request) => 'unknownSince' in request);
    expect(Math.abs((seen['unknownSince'] as Date).getTime() - Date.now())).toBeLessThan(60_000);
    expect(seen['createdAt']).toEqual(failing!.getTimestamp());
    const longAgo = new Date(Date.now() - 601_000);
    await lab.requests.updateOne({ _id: failing! }, { $set: { unknownSince: longAgo } });

    expect(await lab.ended(failing!)).toMatchObject({
      status: 'failed',
      error: { code: 'unknown_command', message: expect.stringContaining('got "syncEverything"') as unknown },
    });
    expect(await lab.read(waiting!)).not.toHaveProperty('status');
    expect(ended).toContainEqual(expect.objectContaining({ command: 'unknown', status: 'failed' }));
  });

  test('does not stand in the way of others, however many there are', async () => {
    const unknown = Array.from({ length: 300 }, () => tomorrows);
    const odd = { command: 7 };

    const ids = await lab.insert(...unknown, odd, small);

    expect(await lab.ended(ids.at(-1)!)).toMatchObject({ status: 'succeeded' });
    expect(await lab.ended(ids.at(-2)!)).toMatchObject({ status: 'failed' });
    await lab.requests.deleteMany(tomorrows);
  });
});

describe('a field of the daemon that a user has forged', () => {
  test.each<[string, AnyDocument]>([
    ['a status of running without a lease', { status: 'running' }],
    [
      'a lease of the year 3000',
      { status: 'running', lease: { owner: 'me', fence: 1, expiresAt: millennium } },
    ],
    [
      'a lease without an owner',
      { status: 'running', lease: { fence: 1, expiresAt: new Date(Date.now() + 60_000) } },
    ],
    ['a lease that is a word', { status: 'running', lease: 'mine' }],
    ['a lease that is a list', { lease: [{ owner: 'me', fence: 9 }, { fence: 'x' }] }],
    [
      'a lease that ends with a word',
      { status: 'running', lease: { owner: 'me', fence: 1, expiresAt: 'never' } },
    ],
    ['a fence that is no number', { lease: { fence: 'x' } }],
    ['a fence below zero', { lease: { fence: -1 } }],
    ['an endless fence', { lease: { fence: Infinity } }],
    ['a fence that is too large', { lease: { fence: mongo.Long.MAX_VALUE } }],
    ['a fence of another kind of number', { lease: { fence: mongo.Decimal128.fromString('NaN') } }],
    ['attempts that are no number', { attempts: 'abc' }],
    ['attempts used up', { attempts: 99 }],
    ['endless attempts', { attempts: -Infinity }],
    ['a history of words', { history: 'long' }],
    ['a history without end', { history: Array.from({ length: 1_000 }, () => ({ attempt: 1 })) }],
    ['a history that is large', { history: ['x'.repeat(1024 * 1024)] }],
    ['a progress and a result', { progress: [1], result: { created: 5 }, error: 'none' }],
    [
      'times of its life',
      { createdAt: millennium, startedAt: 'now', finishedAt: millennium, expireAt: new Date(0) },
    ],
    ['that it was coalesced', { coalescedInto: 7 }],
    ['that another one runs for it', { waitsFor: 7 }],
    ['since when it is unknown', { unknownSince: new Date(0) }],
    ['status null', { status: null }],
  ])('%s makes it neither immortal nor special', async (_name, forged) => {
    const [id] = await lab.insert({ ...small, ...forged });

    const request = await lab.ended(id!);

    expect(request).toMatchObject({
      status: 'succeeded',
      result: { created: 0 },
      startedAt: expect.any(Date) as unknown,
    });
    expect(request).not.toHaveProperty('error');
    for (const field of ['coalescedInto', 'waitsFor', 'unknownSince'])
      expect(request).not.toHaveProperty(field);
    expect(request['createdAt']).toEqual(id!.getTimestamp());
    const { fence, ...lease } = request['lease'] as { fence: number };
    expect(lease).toEqual({ owner: expect.any(String) as unknown });
    expect(Number.isSafeInteger(fence) && fence >= 1).toBe(true);
    expect((request['history'] as unknown[]).length).toBeLessThanOrEqual(10);
    expect((request['expireAt'] as Date).getTime()).toBeGreaterThan(Date.now());
  });

  test('that it runs, with its attempts used up, ends it', async () => {
    const [id] = await lab.insert({ ...small, status: 'running', attempts: 99 });

    expect(await lab.ended(id!)).toMatchObject({ status: 'failed', error: { code: 'attempts_exhausted' } });
  });

  test('a lease that ends soon is waited for, as it may be genuine', async () => {
    const lease = { owner: 'another', fence: 4, expiresAt: new Date(Date.now() + 700) };
    const [id] = await lab.insert({ ...small, status: 'running', lease });

    const request = await lab.ended(id!);

    expect((request['startedAt'] as Date).getTime()).toBeGreaterThanOrEqual(lease.expiresAt.getTime());
    expect(request).toMatchObject({ status: 'succeeded', lease: { fence: 5 } });
  });

  test('an expireAt of the past does not let MongoDB remove a request that waits', async () => {
    const [index] = (await lab.requests.indexes()).filter(({ name }) => name === 'expiry');

    expect(index).toMatchObject({ expireAfterSeconds: 0 });
    const filter = JSON.stringify((index as mongo.IndexDescriptionInfo).partialFilterExpression);
    expect(filter).toContain('succeeded');
    expect(filter).not.toMatch(/pending|running/);
  });
});

test('a request that MongoDB refuses to update does not stand in the way of the others', async () => {
  const strict = freshDatabase();
  const own = requestsLab(strict);
  const [poison] = await own.insert(small);
  await strict.db.command({
    collMod: 'sync_requests',
    validator: { note: 'signed' },
    validationLevel: 'strict',
    validationAction: 'error',
  });
  const ids = await own.insert({ ...small, note: 'signed' }, { command: 'syncAll', note: 'signed' });
  await own.worker({ runner: quickRunner() });

  for (const id of ids) expect(await own.ended(id)).toMatchObject({ status: 'succeeded' });

  expect((await own.read(poison!))['status']).toBeUndefined();
  expect(own.lines).toContainEqual(expect.objectContaining({ level: 'error', requestId: String(poison) }));
});

test('a request that MongoDB refuses to update does not keep the others from being recovered, cancelled or refused', async () => {
  const strict = freshDatabase();
  const own = requestsLab(strict);
  const lives: AnyDocument[] = [
    { status: 'running' },
    { cancel: true },
    { status: 'odd' },
    { command: ['a'] },
    { command: 'tomorrow' },
    { status: 'failed', cancel: true },
  ];
  const poisons = await own.insert(...lives.map((life) => ({ ...small, ...life })));
  await strict.db.command({
    collMod: 'sync_requests',
    validator: { note: 'signed' },
    validationLevel: 'strict',
    validationAction: 'error',
  });
  const ids = await own.insert(...lives.map((life) => ({ ...small, ...life, note: 'signed' })));
  const before = await own.requests.find({ _id: { $in: poisons } }).toArray();
  await own.worker({ runner: quickRunner() });

  const ends = await Promise.all([0, 1, 2, 3].map((life) => own.ended(ids[life]!)));
  await own.reaching(ids[4]!, 'seen', ({ unknownSince }) => unknownSince instanceof Date);
  await own.reaching(ids[5]!, 'without a wish to cancel', ({ cancel }) => cancel === undefined);

  expect(ends.map(({ status }) => status)).toEqual(['succeeded', 'cancelled', 'failed', 'failed']);
  expect(await own.requests.find({ _id: { $in: poisons } }).toArray()).toEqual(before);
});

const anything = fc.oneof(
  fc.constantFrom<unknown>(
    ...[
      'pending',
      'running',
      'failed',
      'waiting',
      'syncAll',
      'softDelete',
      'cus_1',
      '',
      '$status',
      '$$NOW',
      '..',
    ],
    ...[0, 1, -1, 99, 1.5, NaN, Infinity, 1e300, true, false, null, undefined],
  ),
  fc.constantFrom<unknown>(
    ...[new Date(0), millennium, new Date(8.64e15), new mongo.ObjectId(), mongo.Long.MIN_VALUE],
    ...[
      new mongo.Timestamp(1n),
      new mongo.MinKey(),
      new mongo.MaxKey(),
      new mongo.BSONRegExp('a'),
      new mongo.Code('a'),
    ],
    ...[mongo.Decimal128.fromString('1E6000'), new mongo.Binary(Buffer.from('a'))],
  ),
  fc
    .anything({ maxDepth: 2, maxKeys: 3, withBigInt: false })
    .filter((value) => typeof value !== 'symbol' && typeof value !== 'function'),
);
const lease = fc.oneof(
  anything,
  fc.record({ owner: anything, fence: anything, expiresAt: anything }, { requiredKeys: [] }),
);
const forged = fc.record(
  {
    command: fc.oneof(
      fc.constantFrom('syncAll', 'softDelete', 'syncByIds', 'syncBatch', 'tomorrow'),
      anything,
    ),
    stripeId: fc.oneof(fc.constant('cus_1'), anything),
    ids: fc.oneof(fc.constant(['cus_1']), anything),
    batch: fc.oneof(fc.constant([{ id: 'cus_1' }]), anything),
    status: fc.oneof(fc.constantFrom('pending', 'running'), anything),
    lease,
    ...Object.fromEntries(
      [
        'attempts',
        'history',
        'progress',
        'result',
        'error',
        'createdAt',
        'startedAt',
        'finishedAt',
        'expireAt',
        'coalescedInto',
        'waitsFor',
        'unknownSince',
      ]
        .concat(['runAt', 'maxAttempts', 'dryRun', 'requestedBy', 'cancel', 'observedAt', 'body', 'sizes'])
        .map((field) => [field, anything]),
    ),
  },
  { requiredKeys: ['command'] },
);

test('whatever is in them, requests end, wait for their time, or wait for a version that knows them', async () => {
  const own = requestsLab(freshDatabase());
  await own.worker({ runner: quickRunner(), settings: { ...quickSettings, concurrency: 8 } });

  await fc.assert(
    fc.asyncProperty(fc.array(forged, { minLength: 1, maxLength: 25 }), async (documents) => {
      const ids: mongo.ObjectId[] = [];
      for (const document of documents) {
        // MongoDB itself refuses some: two lists in one index, names with a zero byte.
        ids.push(...(await own.insert(document).catch(() => [])));
      }

      for (const id of ids) {
        const settled = async (): Promise<boolean> => {
          const request = await own.read(id);
          if (!isSettled(request)) throw new Error(mongo.BSON.EJSON.stringify(request));
          return true;
        };
        await until(settled, { what: `request ${String(id)} to end`, intervalMs: 25, timeoutMs: 8_000 });
      }
    }),
    { numRuns: 12, interruptAfterTimeLimit: 15_000, markInterruptAsFailure: false },
  );
});

/** Ended, by a user's own word too; or waiting for what is to come. */
function isSettled({ status, runAt, command, lease: held }: AnyDocument): boolean {
  const word: unknown = Array.isArray(status) ? (status as unknown[]).find(isEndStatus) : status;
  if (isEndStatus(word)) return true;
  // One that is a list and holds `pending` is refused when it is claimed.
  const words: unknown[] = Array.isArray(status) ? status : [status];
  const isPending = words.some((each) => each == null || each === 'pending');
  const isLater = runAt instanceof Date && runAt.getTime() > Date.now();
  const isUnknown = typeof command === 'string' && !commandNames.some((name) => name === command);
  const { owner, fence } = (held ?? {}) as AnyDocument;
  const isAnothers = typeof status === 'string' && typeof owner === 'string' && fence !== undefined;
  return isPending ? isLater || isUnknown : isAnothers;
}
