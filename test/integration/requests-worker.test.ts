// The worker: requests come in by change stream or poll, run in their lanes, and end once, as their run ended.
import { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import type { EndStatus } from '../../src/requests/request.js';
import { withResult } from '../../src/sync/outcome.js';
import { freshDatabase } from '../support/database.js';
import { heldRunner, quickRunner, requestsLab, resultOf } from '../support/requests.js';
import { until } from '../support/until.js';

const passing = (retryAfterMs?: number): Fault =>
  new Fault('stripe_unavailable', 'Stripe answered 503', {
    kind: 'retryable',
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });

describe('a request', () => {
  test('runs with nothing but its command, and keeps its result', async () => {
    const lab = requestsLab(freshDatabase());
    const item = { id: 'cus_1', outcome: 'updated' as const };
    const runner = quickRunner(() => ({ ...resultOf({ updated: 1 }), items: [item] }));
    await lab.worker({ runner });

    const [id] = await lab.insert({ command: 'syncByIds', ids: ['cus_1', 'cus_1'] });

    const request = await lab.ended(id!);
    expect(request).toMatchObject({
      status: 'succeeded',
      attempts: 1,
      result: { created: 0, updated: 1, unchanged: 0, deleted: 0, stale: 0, failed: 0, items: [item] },
      lease: { fence: 1 },
      history: [{ attempt: 1 }],
    });
    expect(request).not.toHaveProperty('error');
    expect(request['lease']).not.toHaveProperty('expiresAt');
    expect(runner.runs[0]?.command).toEqual({ command: 'syncByIds', object: 'customer', ids: ['cus_1'] });
    expect(runner.runs[0]?.context).toMatchObject({ attempt: 1, dryRun: false });
    const [created, started, finished] = ['createdAt', 'startedAt', 'finishedAt'].map(
      (field) => request[field] as Date,
    );
    expect(created!.getTime()).toBe(id!.getTimestamp().getTime());
    expect(started! <= finished!).toBe(true);
  });

  test('that runs dry is told without a result, as it brings nothing into the mirror', async () => {
    const lab = requestsLab(freshDatabase());
    const told: unknown[] = [];
    await lab.worker({
      runner: quickRunner(() => resultOf({ updated: 1 })),
      observer: { requestEnded: ({ result }) => void told.push(result?.updated) },
    });
    const small = { command: 'syncByIds', ids: ['cus_1'] };

    const [dry, real] = await lab.insert({ ...small, dryRun: true }, small);

    for (const id of [dry, real]) expect(await lab.ended(id!)).toMatchObject({ result: { updated: 1 } });
    await until(() => told.length === 2, { what: 'both ends to be told' });
    expect(told.sort()).toEqual([1, undefined]);
  });

  test('ends as its items ended', async () => {
    const lab = requestsLab(freshDatabase());
    const results = [resultOf({ failed: 2 }), resultOf({ failed: 1, created: 1 }), resultOf({ created: 2 })];
    const runner = quickRunner(({ command }) => {
      const result = results.shift()!;
      return command === 'softDelete' ? result : resultOf();
    });
    await lab.worker({ runner, settings: { concurrency: 1 } });

    const ids = await lab.insert(...['a', 'b', 'c'].map((stripeId) => ({ command: 'softDelete', stripeId })));

    const statuses = await Promise.all(ids.map(async (id) => (await lab.ended(id))['status']));
    expect(statuses).toEqual(['failed', 'partial', 'succeeded']);
    expect((await lab.read(ids[0]!))['error']).toMatchObject({ code: 'internal' });
  });

  test('that succeeded as a batch keeps ids and no bodies, one that failed keeps its bodies', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner(({ command }) => {
      if (command !== 'syncBatch') throw new Error('unexpected');
      return runner.runs.length === 1 ? resultOf({ created: 2 }) : resultOf({ created: 1, failed: 1 });
    });
    await lab.worker({ runner, settings: { concurrency: 1 } });
    const batch = [
      { id: 'cus_1', email: 'jane@example.com' },
      { id: 'cus_2', metadata: { $a: '$b' } },
    ];

    const [first] = await lab.insert({ command: 'syncBatch', batch });
    expect(await lab.ended(first!)).toMatchObject({ status: 'succeeded', batch: ['cus_1', 'cus_2'] });
    const [second] = await lab.insert({ command: 'syncBatch', batch });
    expect(await lab.ended(second!)).toMatchObject({ status: 'partial', batch });
    await lab.requests.updateOne({ _id: first! }, { $set: { status: 'pending' } });

    const again = await lab.reaching(first!, 'failed', ({ status }) => status === 'failed');
    expect(again['error']).toMatchObject({ code: 'invalid_request' });
    expect(JSON.stringify(again['error'])).toContain('insert a new request');
  });

  test('runs not before its runAt, and soon after', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner();
    await lab.worker({ runner });
    const runAt = new Date(Date.now() + 1_500);

    const [later] = await lab.insert({ command: 'syncByIds', ids: ['cus_1'], runAt });

    const request = await lab.ended(later!);
    expect((request['startedAt'] as Date).getTime()).toBeGreaterThanOrEqual(runAt.getTime());
    expect((request['startedAt'] as Date).getTime()).toBeLessThan(runAt.getTime() + 2_000);
  });

  test.each<[EndStatus, object, number]>([
    ['succeeded', {}, 604_800],
    ['succeeded', { requestedBy: 'cron' }, 3_600],
    ['failed', {}, 2_592_000],
    ['partial', { requestedBy: 'cron' }, 2_592_000],
  ])('that ends %s %j is removed after its time', async (status, options, seconds) => {
    const lab = requestsLab(freshDatabase());
    const counts = { succeeded: { created: 1 }, failed: { failed: 1 }, partial: { created: 1, failed: 1 } };
    await lab.worker({ runner: quickRunner(() => resultOf(counts[status as keyof typeof counts])) });

    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1', ...options });

    const request = await lab.ended(id!);
    expect(request['status']).toBe(status);
    const keptMs = (request['expireAt'] as Date).getTime() - (request['finishedAt'] as Date).getTime();
    expect(keptMs).toBe(seconds * 1_000);
  });
});

test('a start is logged of a scan and of a later attempt; small requests, of which there are many, have one line', async () => {
  const lab = requestsLab(freshDatabase());
  let failures = 1;
  const runner = quickRunner(({ command }) => {
    if (command === 'softDelete' && failures-- > 0) throw passing();
    return resultOf();
  });
  await lab.worker({ runner });

  const ids = await lab.insert(
    { command: 'syncAll' },
    { command: 'syncByIds', ids: ['cus_1'] },
    { command: 'softDelete', stripeId: 'cus_1' },
  );
  for (const id of ids) await lab.ended(id);

  const starts = lab.lines.filter(({ msg, level }) => msg === 'Request started' && level === 'info');
  expect(starts.map(({ command, attempt }) => `${String(command)} ${String(attempt)}`).sort()).toEqual([
    'softDelete 2',
    'syncAll 1',
  ]);
});

describe('a fault', () => {
  test('that passes is tried again, with its history, until it does not come back', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner((_command, { attempt }) => {
      if (attempt < 3) throw passing();
      return resultOf();
    });
    await lab.worker({ runner });

    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });

    const request = await lab.ended(id!);
    const error = { code: 'stripe_unavailable', message: 'Stripe answered 503' };
    expect(request).toMatchObject({
      status: 'succeeded',
      attempts: 3,
      history: [{ attempt: 1, error }, { attempt: 2, error }, { attempt: 3 }],
    });
  });

  test('that does not pass in maxAttempts fails the request, naming the last one', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner(() => {
      throw passing();
    });
    await lab.worker({ runner });

    const [byDefault, own] = await lab.insert(
      { command: 'softDelete', stripeId: 'cus_1' },
      { command: 'softDelete', stripeId: 'cus_2', maxAttempts: 1 },
    );

    const error = { code: 'attempts_exhausted', cause: { code: 'stripe_unavailable' } };
    expect(await lab.ended(byDefault!)).toMatchObject({ status: 'failed', attempts: 3, error });
    expect(await lab.ended(own!)).toMatchObject({ status: 'failed', attempts: 1, error });
  });

  test('waits as long as it asks for', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner((_command, { attempt }) => {
      if (attempt === 1) throw passing(1_000);
      return resultOf();
    });
    await lab.worker({ runner });

    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });

    const request = await lab.ended(id!);
    const [first] = request['history'] as { finishedAt: Date }[];
    expect((request['startedAt'] as Date).getTime() - first!.finishedAt.getTime()).toBeGreaterThanOrEqual(
      1_000,
    );
  });

  test('that is permanent fails at once, with what was done before', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner(() => {
      const fault = new Fault('stripe_rejected', 'Stripe refused', { kind: 'terminal', statusCode: 400 });
      throw withResult(fault, resultOf({ created: 7 }));
    });
    await lab.worker({ runner });

    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });

    expect(await lab.ended(id!)).toMatchObject({
      status: 'failed',
      attempts: 1,
      error: { code: 'stripe_rejected', message: 'Stripe refused', statusCode: 400 },
      result: { created: 7 },
    });
  });

  test('that nobody classified is told by its type alone, and tried again', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner(() => {
      throw new TypeError('jane@example.com has no property sk_live_123');
    });
    await lab.worker({ runner });

    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });

    const request = await lab.ended(id!);
    expect(request).toMatchObject({ status: 'failed', attempts: 3, error: { code: 'attempts_exhausted' } });
    expect(JSON.stringify([request, lab.lines])).not.toMatch(/jane|sk_live/);
  });

  test('that is fatal is told upward, and the request waits with its attempt given back', async () => {
    const lab = requestsLab(freshDatabase());
    const fatal = new Fault('stripe_key_refused', 'Stripe refused the key', { kind: 'fatal' });
    const told: Error[] = [];
    const runner = quickRunner(() => {
      throw fatal;
    });
    await lab.worker({ runner, onFatal: (fault) => void told.push(fault), settings: { retryMaxMs: 60_000 } });

    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });

    await until(() => told.length > 0, { what: 'the fatal fault' });
    expect(told).toEqual([fatal]);
    expect(await lab.read(id!)).toMatchObject({ status: 'pending', attempts: 0 });
    expect(runner.runs).toHaveLength(1);
  });
});

describe('a set-back request', () => {
  test('runs again as if new, and forgets how it ended', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner });
    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1', maxAttempts: 1 });
    (await runner.nth(1)).fail(passing());
    expect(await lab.ended(id!)).toMatchObject({ status: 'failed', attempts: 1 });

    await lab.requests.updateOne({ _id: id! }, { $set: { status: 'pending' } });

    const again = await runner.nth(2);
    const running = await lab.read(id!);
    for (const field of ['error', 'result', 'finishedAt', 'expireAt'])
      expect(running).not.toHaveProperty(field);
    expect(again.context.attempt).toBe(1);
    again.succeed();
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', attempts: 1, lease: { fence: 2 } });
    expect((await lab.read(id!))['history']).toHaveLength(2);
  });

  test('that was cancelled runs, and one that is cancelled while it waits again does not', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner, settings: { concurrency: 1 } });
    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });
    await runner.nth(1);
    await lab.requests.updateOne({ _id: id! }, { $set: { cancel: true } });
    expect(await lab.ended(id!)).toMatchObject({ status: 'cancelled' });

    await lab.requests.updateOne({ _id: id! }, { $set: { status: 'pending' } });
    const again = await runner.nth(2);
    expect(again.context.signal.aborted).toBe(false);
    again.succeed();
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded' });

    const [blocker] = await lab.insert({ command: 'softDelete', stripeId: 'cus_2' });
    const blocking = await runner.nth(3);
    await lab.requests.updateOne({ _id: id! }, { $set: { status: 'pending' } });
    await lab.requests.updateOne({ _id: id! }, { $set: { cancel: true } });
    expect(await lab.ended(id!)).toMatchObject({ status: 'cancelled' });
    expect((await lab.read(blocker!))['status']).toBe('running');
    blocking.succeed();
  });

  test('keeps the last ten attempts', async () => {
    const lab = requestsLab(freshDatabase());
    await lab.worker({
      runner: quickRunner(() => {
        throw passing();
      }),
      settings: { retryBaseMs: 1, retryMaxMs: 2, pollIntervalMs: 50 },
    });

    const [id] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1', maxAttempts: 13 });

    const request = await lab.ended(id!);
    const attempts = (request['history'] as { attempt: number }[]).map(({ attempt }) => attempt);
    expect(attempts).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
  });
});

describe('a dedupeKey', () => {
  test('is refused by MongoDB while its request waits, runs or is kept after success, and free after failure', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner });
    const request = { command: 'softDelete', stripeId: 'cus_1', dedupeKey: 'order-1' };
    const refused = { code: 11_000 };

    const [first] = await lab.insert(request);
    const run = await runner.nth(1);
    await expect(lab.insert(request)).rejects.toMatchObject(refused);
    run.fail(new Fault('stripe_rejected', 'No', { kind: 'terminal' }));
    await lab.ended(first!);

    const [second] = await lab.insert(request);
    (await runner.nth(2)).succeed();
    await lab.ended(second!);
    await expect(lab.insert(request)).rejects.toMatchObject(refused);
    const setBack = lab.requests.updateOne({ _id: first! }, { $set: { status: 'pending' } });
    await expect(setBack).rejects.toMatchObject(refused);
    expect((await lab.read(first!))['status']).toBe('failed');
  });
});

describe('lanes', () => {
  test('work on as many small requests at once as configured, and take the rest as room comes', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    const worker = await lab.worker({
      runner,
      settings: { concurrency: 3 },
    });
    const ids = await lab.insert(
      ...Array.from({ length: 10 }, (_, index) => ({ command: 'softDelete', stripeId: `cus_${index}` })),
    );

    await runner.nth(3);
    expect(worker.running).toEqual({ small: 3, scan: 0 });
    for (let n = 1; n <= 10; n += 1) (await runner.nth(n)).succeed();

    for (const id of ids) expect(await lab.ended(id)).toMatchObject({ status: 'succeeded', attempts: 1 });
    expect(runner.runs).toHaveLength(10);
  });

  test('let small requests go past a scan that runs, and past scans that wait', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    const worker = await lab.worker({ runner, settings: { concurrency: 1 } });
    await lab.insert({ command: 'syncAll' });
    const scan = await runner.nth(1);
    const [waiting] = await lab.insert({ command: 'syncAll' });

    const [small] = await lab.insert({ command: 'softDelete', stripeId: 'cus_1' });

    const run = await runner.nth(2);
    expect(run.command.command).toBe('softDelete');
    expect(worker.running).toEqual({ small: 1, scan: 1 });
    run.succeed();
    await lab.ended(small!);
    expect((await lab.read(waiting!))['status']).toBeUndefined();
    scan.succeed();
    (await runner.nth(3)).succeed();
    await lab.ended(waiting!);
  });
});

describe('progress', () => {
  test('is written for a person, at most once a second', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    const ratios: (number | undefined)[] = [];
    await lab.worker({
      runner,
      settings: { leaseMs: 30_000 },
      observer: { scanProgressed: (ratio) => void ratios.push(ratio) },
    });
    const [id] = await lab.insert({ command: 'syncAll' });
    const scan = await runner.nth(1);
    const writes: Date[] = [];

    let done = 0;
    await until(
      async () => {
        scan.context.onProgress({ done: (done += 10), estimated: 4_000, ratio: undefined });
        const progress = (await lab.read(id!))['progress'] as { updatedAt: Date } | undefined;
        if (progress && progress.updatedAt.getTime() !== writes.at(-1)?.getTime())
          writes.push(progress.updatedAt);
        return writes.length === 3;
      },
      { what: 'three writes', intervalMs: 20 },
    );

    const { progress } = await lab.read(id!);
    expect(progress).toMatchObject({ estimated: 4_000 });
    const { ratio, perSecond, etaSeconds } = progress as Record<string, number>;
    expect(ratio).toBeGreaterThan(0);
    expect(perSecond).toBeGreaterThan(0);
    expect(etaSeconds).toBeGreaterThan(0);
    expect(writes[2]!.getTime() - writes[0]!.getTime()).toBeGreaterThanOrEqual(1_800);
    scan.succeed();
    await lab.ended(id!);
    expect(ratios.at(-1)).toBeUndefined();
  });
});

test('ids of any type are worked on', async () => {
  const lab = requestsLab(freshDatabase());
  await lab.worker({ runner: quickRunner() });
  const ids: unknown[] = ['mine', 7, { a: 1 }, new Date(0), new mongo.UUID(), true];

  await lab.insert(...ids.map((_id) => ({ _id, command: 'softDelete', stripeId: 'cus_1' })));

  await until(async () => (await lab.requests.countDocuments({ status: 'succeeded' })) === ids.length, {
    what: 'all to succeed',
  });
});
