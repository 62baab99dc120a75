// What stops a request: its user's wish, or the stop of the process that runs it. Neither loses anything.
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { isFault } from '../../src/base/errors.js';
import { Claims } from '../../src/requests/claims.js';
import { silentRequestsObserver } from '../../src/requests/observer.js';
import { ScanLease } from '../../src/requests/scan-lease.js';
import { RequestSteps } from '../../src/requests/steps.js';
import { EqualScans } from '../../src/requests/upkeep/equal-scans.js';
import { OutageLog } from '../../src/requests/worker/outage.js';
import { Runs } from '../../src/requests/worker/runs.js';
import { withResult } from '../../src/sync/outcome.js';
import { freshDatabase } from '../support/database.js';
import {
  heldRunner,
  noInsertions,
  quickRunner,
  quickSettings,
  requestsLab,
  resultOf,
  type Run,
} from '../support/requests.js';
import { until } from '../support/until.js';

const small = { command: 'softDelete', stripeId: 'cus_1' };

const abortCode = ({ context }: Run): string | undefined =>
  isFault(context.signal.reason) ? context.signal.reason.code : undefined;

describe('cancel', () => {
  test('ends a request that waits, whatever it waits for', async () => {
    const lab = requestsLab(freshDatabase());
    const ended: unknown[] = [];
    const ids = await lab.insert(
      { ...small, cancel: true },
      { ...small, runAt: new Date(Date.now() + 3_600_000), status: 'pending', cancel: true },
      { command: 'aCommandOfTomorrow', cancel: true },
      { command: 'syncAll', cancel: true },
    );
    const runner = quickRunner();
    await lab.worker({
      runner,
      observer: { requestEnded: ({ command, status }) => void ended.push(`${command} ${status}`) },
    });

    for (const id of ids) {
      const request = await lab.ended(id);
      expect(request).toMatchObject({ status: 'cancelled', finishedAt: expect.any(Date) as unknown });
      expect(request).not.toHaveProperty('cancel');
    }
    expect(runner.runs).toHaveLength(0);
    // The metrics learn of an end after it is stored.
    await until(() => ended.length === ids.length, { what: 'every end to be told' });
    expect(ended.sort()).toEqual([
      'softDelete cancelled',
      'softDelete cancelled',
      'syncAll cancelled',
      'unknown cancelled',
    ]);
  });

  test('stops a request that runs', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner });
    const [id] = await lab.insert({ command: 'syncAll' });
    const run = await runner.nth(1);

    await lab.requests.updateOne({ _id: id! }, { $set: { cancel: true } });

    const request = await lab.ended(id!);
    expect(request).toMatchObject({ status: 'cancelled', attempts: 1 });
    expect(request).not.toHaveProperty('cancel');
    expect(request).not.toHaveProperty('error');
    expect(abortCode(run)).toBe('cancelled');
  });

  test('that comes while the request is being claimed stops it as soon as it runs', async () => {
    const lab = requestsLab(freshDatabase());
    const place = await lab.connect();
    const claimed = new AbortController();
    const told = new AbortController();
    /** As slow as a busy server: the claim is done, its answer is on its way. */
    class SlowClaims extends Claims {
      override async claim(...args: Parameters<Claims['claim']>) {
        const answer = await super.claim(...args);
        claimed.abort();
        await once(told.signal, 'abort');
        return answer;
      }
    }
    const settings = { ...quickSettings, leaseMs: 60_000 };
    const observer = silentRequestsObserver;
    const never = new AbortController().signal;
    const runner = quickRunner((_command, { signal }) => {
      signal.throwIfAborted();
      return resultOf();
    });
    const runs = new Runs({
      claims: new SlowClaims(place, 'me', settings),
      insertions: noInsertions,
      steps: new RequestSteps(place, 'me', settings),
      equalScans: new EqualScans(place, settings, lab.logger, observer),
      scanLease: new ScanLease(place, 'me', 60_000),
      runner,
      logger: lab.logger,
      observer,
      outage: new OutageLog(lab.logger, never, silentRequestsObserver),
      random: () => 0,
      stopping: never,
      givingUp: never,
    });
    const [id, next] = await lab.insert(small, small);

    const claiming = runs.claim('small', { id: id!, wokenAt: undefined });
    await once(claimed.signal, 'abort');
    runs.cancel(id!);
    told.abort();
    const run = await claiming;
    if (typeof run === 'string') expect.unreachable(run);
    await run();

    expect(await lab.read(id!)).toMatchObject({ status: 'cancelled' });
    expect(runs.cancel(next!)).toBe(false);
    expect(lab.lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
  });

  test('reaches a request that is worked on without a daemon long before its lease is renewed', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    const worker = await lab.worker({ runner, start: false, settings: { leaseMs: 300_000 } });
    const [id] = await lab.insert(small);

    const ended = worker.runOnce(id!, AbortSignal.timeout(20_000));
    await runner.nth(1);
    await lab.requests.updateOne({ _id: id! }, { $set: { cancel: true } });

    expect(await ended).toMatchObject({ status: 'cancelled' });
  });

  test('keeps the partial result that the run hands over', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner(
      (_command, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            const reason: unknown = signal.reason;
            // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- a Fault, which is an Error
            if (reason instanceof Error) reject(withResult(reason, resultOf({ created: 12, unchanged: 3 })));
          });
        }),
    );
    await lab.worker({ runner });
    const [id] = await lab.insert({ command: 'syncAll' });
    await runner.nth(1);

    await lab.requests.updateOne({ _id: id! }, { $set: { cancel: true } });

    expect(await lab.ended(id!)).toMatchObject({
      status: 'cancelled',
      result: { created: 12, unchanged: 3 },
    });
  });

  test('that comes too late is forgotten, so that the request can be set back', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner();
    await lab.worker({ runner });
    const [id] = await lab.insert(small);
    await lab.ended(id!);

    await lab.requests.updateOne({ _id: id! }, { $set: { cancel: true } });

    await lab.reaching(id!, 'without cancel', (request) => !('cancel' in request));
    expect(await lab.read(id!)).toMatchObject({ status: 'succeeded' });
    await lab.requests.updateOne({ _id: id! }, { $set: { status: 'pending' } });
    await runner.nth(2);
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded' });
  });
});

describe('a stop', () => {
  test('lets small requests end, claims nothing more, and brings a scan to its checkpoint at once', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    const worker = await lab.worker({ runner });
    const [scan] = await lab.insert({ command: 'syncAll' });
    const scanRun = await runner.nth(1);
    const [first] = await lab.insert(small);
    const run = await runner.nth(2);

    const drained = worker.drain({ withinMs: 10_000 });
    await until(() => scanRun.isOver, { what: 'the scan to stop', timeoutMs: 2_000 });
    const [second] = await lab.insert(small);
    expect([abortCode(scanRun), run.isOver]).toEqual(['shutdown', false]);
    run.succeed();

    expect(await drained).toEqual({ left: 0 });
    expect(await lab.read(first!)).toMatchObject({ status: 'succeeded' });
    expect((await lab.read(second!))['status']).toBeUndefined();
    const released = await lab.read(scan!);
    expect(released).toMatchObject({
      status: 'pending',
      attempts: 0,
      history: [{ attempt: 1, error: { code: 'shutdown' } }],
    });
    expect(released).not.toHaveProperty('runAt');

    const next = heldRunner();
    await lab.worker({ runner: next });
    const [a, b] = [await next.nth(1), await next.nth(2)];
    expect([a.context.attempt, b.context.attempt]).toEqual([1, 1]);
    a.succeed();
    b.succeed();
    await lab.ended(scan!);
  });

  test('stops small requests that take too long, which wait for another process as if not begun', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    const worker = await lab.worker({ runner });
    const [id] = await lab.insert({ ...small, maxAttempts: 1 });
    const run = await runner.nth(1);

    expect(await worker.drain({ withinMs: 1_000 })).toEqual({ left: 0 });

    expect(abortCode(run)).toBe('shutdown');
    expect(await lab.read(id!)).toMatchObject({ status: 'pending', attempts: 0 });
    await lab.worker({ runner: quickRunner() });
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', attempts: 1 });
  });

  test('does not wait for ever for a run that does not stop', async () => {
    const lab = requestsLab(freshDatabase());
    let end = (): void => {};
    const runner = quickRunner(() => new Promise((resolve) => (end = () => resolve(resultOf()))));
    const worker = await lab.worker({ runner });
    const [id] = await lab.insert(small);
    await runner.nth(1);
    const from = performance.now();

    expect(await worker.drain({ withinMs: 500 })).toEqual({ left: 1 });

    expect(performance.now() - from).toBeLessThan(5_000);
    end();
    await until(() => worker.running.small === 0, { what: 'the run to end' });
    expect(await lab.read(id!)).toMatchObject({ status: 'running' });
  });

  test('in the middle of many scans never uses their attempts up', async () => {
    const lab = requestsLab(freshDatabase());
    const [id] = await lab.insert({ command: 'syncAll', maxAttempts: 2 });

    for (let restart = 0; restart < 5; restart += 1) {
      const runner = heldRunner();
      const worker = await lab.worker({ runner });
      expect((await runner.nth(1)).context.attempt).toBe(1);
      await worker.drain({ withinMs: 5_000 });
    }

    await lab.worker({ runner: quickRunner() });
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', attempts: 1 });
  });
});

test('a checkpoint of a scan starts the count of its attempts again', async () => {
  const lab = requestsLab(freshDatabase());
  const runner = heldRunner();
  await lab.worker({ runner });
  const [id] = await lab.insert({ command: 'syncAll' });
  (await runner.nth(1)).fail(new Error('passing'));
  (await runner.nth(2)).fail(new Error('passing'));
  const third = await runner.nth(3);
  expect(third.context.attempt).toBe(3);

  third.context.onCheckpoint();

  await lab.reaching(id!, 'at its first attempt', ({ attempts }) => attempts === 1);
  third.fail(new Error('passing'));
  const fourth = await runner.nth(4);
  expect(fourth.context.attempt).toBe(2);
  fourth.succeed();
  expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', attempts: 2 });
});
