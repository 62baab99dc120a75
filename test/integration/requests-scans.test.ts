// Scans: one at a time over all replicas, equal waiting ones as one, and nothing else behind them.
import { describe, expect, test } from 'vitest';
import { isFault } from '../../src/base/errors.js';
import { ScanLease } from '../../src/requests/scan-lease.js';
import { freshDatabase } from '../support/database.js';
import { heldRunner, quickRunner, requestsLab, resultOf } from '../support/requests.js';
import { until } from '../support/until.js';

const scan = { command: 'syncAll' };

describe('scans that wait', () => {
  test('for something else, for later, or with a fault of their own stay by themselves', async () => {
    const lab = requestsLab(freshDatabase());
    const [first, dry, later, invalid, cancelled] = await lab.insert(
      scan,
      { ...scan, dryRun: true },
      { ...scan, runAt: new Date(Date.now() + 3_600_000) },
      { ...scan, maxAttempts: 'many' },
      { ...scan, cancel: true },
    );
    const runner = quickRunner();
    await lab.worker({ runner });

    const ids = [first!, dry!, invalid!, cancelled!];
    const statuses = await Promise.all(ids.map(async (id) => (await lab.ended(id))['status']));

    expect(statuses).toEqual(['succeeded', 'succeeded', 'failed', 'cancelled']);
    expect((await lab.read(later!))['status']).toBeUndefined();
    expect(runner.runs.map(({ context }) => context.dryRun)).toEqual([false, true]);
  });

  test('since another one began run after it, for it may have passed what they are asked for', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner });
    const [first] = await lab.insert(scan);
    const running = await runner.nth(1);
    const later = await lab.insert(scan, scan);

    running.succeed();
    await lab.ended(first!);

    const next = await runner.nth(2);
    expect(next.context.requestId).toEqual(later[0]);
    expect(await lab.read(later[1]!)).toMatchObject({ waitsFor: later[0] });
    next.succeed();
    expect(await lab.ended(later[1]!)).toMatchObject({ status: 'coalesced', coalescedInto: later[0] });
    expect(await lab.ended(later[0]!)).toMatchObject({ status: 'succeeded' });
  });
});

describe('scans of several replicas', () => {
  test('run one at a time', async () => {
    const lab = requestsLab(freshDatabase());
    let now = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, (now += 1));
      await lab.requests.findOne({ status: 'succeeded' });
      now -= 1;
      return resultOf();
    };
    // Each waits for what no other asks for: a scan, a dry run, in turns.
    const ids = await lab.insert(
      ...Array.from({ length: 6 }, (_, index) => ({ ...scan, dryRun: index % 2 === 0, fence: index })),
    );
    const runners = [quickRunner(work), quickRunner(work), quickRunner(work)];
    await Promise.all(runners.map((runner) => lab.worker({ runner })));
    for (let round = 0; round < 5; round += 1)
      ids.push(...(await lab.insert(scan, { ...scan, dryRun: true })));

    for (const id of ids) await lab.ended(id);

    expect(most).toBe(1);
    expect(runners.flatMap(({ runs }) => runs).length).toBeGreaterThanOrEqual(2);
  });

  test('go on elsewhere when the one that scans dies, and its right to scan has run out', async () => {
    const lab = requestsLab(freshDatabase());
    const dead = new ScanLease(await lab.connect(), 'dead', 700);
    expect(await dead.acquire()).toMatchObject({ fence: 1 });
    const runner = quickRunner();
    const from = performance.now();

    await lab.worker({ runner });
    const [id] = await lab.insert(scan);

    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded' });
    expect(performance.now() - from).toBeGreaterThan(500);
    expect(await lab.state.findOne({ _id: 'scan-lease:customer' })).toMatchObject({ fence: 2 });
  });

  test('do not begin while another process holds the right, and small requests do not care', async () => {
    const lab = requestsLab(freshDatabase());
    const other = new ScanLease(await lab.connect(), 'other', 60_000);
    const right = await other.acquire();
    const runner = quickRunner();
    const worker = await lab.worker({ runner });

    const [waiting, small] = await lab.insert(scan, { command: 'softDelete', stripeId: 'cus_1' });

    await lab.ended(small!);
    const polledAt = worker.lastPollAt!;
    await until(() => worker.lastPollAt! > polledAt, { what: 'another poll' });
    expect((await lab.read(waiting!))['status']).toBeUndefined();
    await other.release(right!);
    expect(await lab.ended(waiting!)).toMatchObject({ status: 'succeeded' });
  });

  test('stop when their right to scan is taken away', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner, settings: { leaseMs: 2_000 } });
    await lab.insert(scan);
    const run = await runner.nth(1);

    await lab.state.updateOne({ _id: 'scan-lease:customer' }, [{ $set: { owner: 'another' } }]);

    await until(() => run.isOver, { what: 'the scan to stop' });
    const reason: unknown = run.context.signal.reason;
    expect(isFault(reason) && reason.code).toBe('lease_lost');
  });

  test('give the right back when they have ended, whatever way', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner });
    const lease = new ScanLease(await lab.connect(), 'next', 1_000);
    const [failing] = await lab.insert({ ...scan, maxAttempts: 1 });

    const run = await runner.nth(1);
    expect(await lease.acquire()).toBeUndefined();
    run.fail(new Error('no'));
    await lab.ended(failing!);

    const right = await until(() => lease.acquire(), { what: 'the right to scan', timeoutMs: 1_000 });
    expect(await lease.renew(right, failing!)).toBe(true);
    await lease.release(right);
    expect(await lease.renew(right, failing!)).toBe(false);
  });

  test('may begin once the right was given back, also while its time is still to come, as a clock that was ahead leaves it', async () => {
    const lab = requestsLab(freshDatabase());
    const lease = new ScanLease(await lab.connect(), 'one', 1_000);
    await lease.release((await lease.acquire())!);

    await lab.state.updateOne({ _id: 'scan-lease:customer' }, [
      { $set: { expiresAt: { $add: ['$expiresAt', 3_600_000] } } },
    ]);

    expect(await lease.acquire()).toMatchObject({ fence: 2 });
  });
});

describe('a request that is worked on by itself', () => {
  test.each([scan, { command: 'softDelete', stripeId: 'cus_1' }])(
    '%j ends as it would with a daemon',
    async (request) => {
      const lab = requestsLab(freshDatabase());
      const runner = quickRunner((_command, { attempt }) => {
        if (attempt === 1) throw new Error('passing');
        return resultOf({ created: 3 });
      });
      const worker = await lab.worker({ runner, start: false });
      const [id, other] = await lab.insert(request, request);

      const ended = await worker.runOnce(id!, AbortSignal.timeout(10_000));

      expect(ended).toMatchObject({ status: 'succeeded', attempts: 2, result: { created: 3 } });
      if (request !== scan) expect((await lab.read(other!))['status']).toBeUndefined();
    },
  );

  test('waits for a daemon that has it already', async () => {
    const lab = requestsLab(freshDatabase());
    const daemon = heldRunner();
    await lab.worker({ runner: daemon });
    const [id] = await lab.insert(scan);
    const run = await daemon.nth(1);
    const runner = quickRunner();
    const worker = await lab.worker({ runner, start: false });

    const ended = worker.runOnce(id!, AbortSignal.timeout(10_000));
    run.succeed(resultOf({ updated: 2 }));

    expect(await ended).toMatchObject({ status: 'succeeded', result: { updated: 2 } });
    expect(runner.runs).toHaveLength(0);
  });

  test('that is nonsense, cancelled or not there is told so', async () => {
    const lab = requestsLab(freshDatabase());
    const worker = await lab.worker({ runner: quickRunner(), start: false });
    const [invalid, cancelled, odd] = await lab.insert(
      { command: 'softDelete', stripeId: '' },
      { ...scan, cancel: true },
      { ...scan, status: 'odd' },
    );
    const signal = AbortSignal.timeout(10_000);

    expect(await worker.runOnce(invalid!, signal)).toMatchObject({
      status: 'failed',
      error: { code: 'invalid_request' },
    });
    expect(await worker.runOnce(cancelled!, signal)).toMatchObject({ status: 'cancelled' });
    expect(await worker.runOnce(odd!, signal)).toMatchObject({ status: 'failed' });
    await lab.requests.deleteOne({ _id: odd! });
    await expect(worker.runOnce(odd!, signal)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('is released when whoever asked for it goes away', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    const worker = await lab.worker({ runner, start: false });
    const [id] = await lab.insert(scan);
    const leaving = new AbortController();

    const ended = worker.runOnce(id!, leaving.signal);
    await runner.nth(1);
    leaving.abort(new Error('gone'));

    await expect(ended).rejects.toThrow('gone');
    expect(await lab.read(id!)).toMatchObject({ status: 'pending', attempts: 0 });
  });
});
