// Scans whose month has no calls left wait without using themselves up, say why, and nothing else waits with them.
import type { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { startSimulator } from 'stripe-simulator';
import { Fault } from '../../src/base/errors.js';
import { atEnd } from '../support/cleanup.js';
import { liveIds, said, startDaemon, UserOfQueue } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { quickRunner, requestsLab, resultOf } from '../support/requests.js';
import { until } from '../support/until.js';

const scan = { command: 'syncAll' };
const usedUp = (retryAfterMs: number) =>
  new Fault('read_allowance_used', 'The calls of this month are used up', {
    kind: 'retryable',
    retryAfterMs,
  });

describe('a scan that is held', () => {
  test('waits with its reason on it and its attempts untouched, and is not looked at before its time', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = quickRunner(() => Promise.reject(usedUp(3_600_000)));
    await lab.worker({ runner, settings: { maxAttempts: 1 } });

    const [id] = await lab.insert(scan);
    const held = await lab.reaching(id!, 'held', ({ error }) => error !== undefined);

    expect(held).toMatchObject({
      status: 'pending',
      attempts: 0,
      error: { code: 'read_allowance_used', message: 'The calls of this month are used up' },
      history: [{ attempt: 1, error: { code: 'read_allowance_used' } }],
    });
    expect(held).not.toHaveProperty('result');
    expect(held).not.toHaveProperty('finishedAt');
    const waitMs = (held['runAt'] as Date).getTime() - Date.now();
    expect(waitMs).toBeGreaterThan(3_500_000);
    expect(waitMs).toBeLessThanOrEqual(3_600_000);
    // Other work goes on, and several polls later it still has run once.
    const others = await lab.insert(
      ...Array.from({ length: 20 }, () => ({ command: 'softDelete', stripeId: 'cus_1' })),
    );
    runner.run = () => Promise.resolve(resultOf());
    for (const other of others) expect(await lab.ended(other)).toMatchObject({ status: 'succeeded' });
    expect(runner.runs.filter(({ command }) => command.command === 'syncAll')).toHaveLength(1);
    expect(lab.lines.filter(({ msg }) => msg === 'Request held')).toMatchObject([
      { level: 'warn', error: { code: 'read_allowance_used' } },
    ]);
  });

  test('goes on when it is set back by hand, and nothing of its waiting is left on it', async () => {
    const lab = requestsLab(freshDatabase());
    let isUsedUp = true;
    await lab.worker({
      runner: quickRunner(() => (isUsedUp ? Promise.reject(usedUp(3_600_000)) : resultOf({ unchanged: 1 }))),
    });
    const [id] = await lab.insert(scan);
    await lab.reaching(id!, 'held', ({ error }) => error !== undefined);

    isUsedUp = false;
    await lab.requests.updateOne({ _id: id! }, { $set: { status: 'pending' }, $unset: { runAt: '' } });
    const ended = await lab.ended(id!);

    expect(ended).toMatchObject({ status: 'succeeded', attempts: 1 });
    expect(ended).not.toHaveProperty('error');
  });

  test('can be cancelled', async () => {
    const lab = requestsLab(freshDatabase());
    await lab.worker({ runner: quickRunner(() => Promise.reject(usedUp(3_600_000))) });
    const [id] = await lab.insert(scan);
    await lab.reaching(id!, 'held', ({ error }) => error !== undefined);

    await lab.requests.updateOne({ _id: id! }, { $set: { cancel: true } });

    expect(await lab.ended(id!)).toMatchObject({ status: 'cancelled' });
  });

  test('ends with the next one that asks for the same: of many only the last one waits for the month to end', async () => {
    const lab = requestsLab(freshDatabase());
    await lab.worker({ runner: quickRunner(() => Promise.reject(usedUp(3_600_000))) });
    const ids: mongo.ObjectId[] = [];
    for (let round = 0; round < 4; round += 1) {
      const [id] = await lab.insert(scan);
      await lab.reaching(id!, 'held', ({ error }) => error !== undefined);
      ids.push(id!);
    }

    const requests = await Promise.all(ids.map((id) => lab.read(id)));

    expect(requests.map(({ status }) => status)).toEqual(['pending', 'pending', 'pending', 'pending']);
    const last = ids[3];
    expect(requests.map(({ waitsFor }) => waitsFor)).toEqual([last, last, last, undefined]);
  });
});

test('a daemon holds scans at its allowance, cron skips its slots, small requests go on, and a larger one ends the wait', async () => {
  const database = freshDatabase();
  const simulator = await startSimulator({ seed: { count: 2_500 } });
  atEnd(() => simulator.close());
  const settings = { STRIPE_MONTHLY_READ_ALLOWANCE: '12' };
  const first = startDaemon(database, simulator, { ...settings, SYNC_ALL_SCHEDULE: '* * * * * *' });
  await first.ready();
  const user = new UserOfQueue(database.db);

  const [held] = await until(
    async () => {
      const found = await user.requests.find({ 'error.code': 'read_allowance_used' }).toArray();
      return found.length > 0 && found;
    },
    { what: 'a scan to be held', timeoutMs: 60_000 },
  );
  const skipped = 'stripe_sync_schedule_slots_total{schedule="syncAll",outcome="skipped"}';
  await until(async () => ((await first.samples()).get(skipped) ?? 0) >= 2, {
    what: 'slots to be skipped',
    timeoutMs: 30_000,
  });
  const listed = simulator.stats.calls['GET /v1/customers'];
  const ids = simulator.listIds().slice(-3);
  expect(await user.run({ command: 'syncByIds', ids })).toMatchObject({ status: 'succeeded' });

  expect(held).toMatchObject({ status: 'pending', attempts: 0, requestedBy: 'cron' });
  expect(await user.requests.countDocuments({ command: 'syncAll' })).toBe(1);
  expect(simulator.stats.calls['GET /v1/customers']).toBe(listed);
  expect(
    first.logs().filter(({ msg }) => msg === "The month's calls to Stripe are used up; scans are held"),
  ).toHaveLength(1);
  const checkpoint = await database.db
    .collection<{ _id: string }>('sync_state')
    .findOne({ _id: 'scan:customer' });
  expect(checkpoint).toMatchObject({ checkpoint: { requestId: String(held!._id), phase: 'list' } });
  await first.stop();

  const second = startDaemon(database, simulator, { STRIPE_MONTHLY_READ_ALLOWANCE: '10000' });
  await second.waitForLine(said('Started'), { what: 'the start', timeoutMs: 30_000 });
  await user.requests.updateOne({ _id: held!._id }, { $set: { status: 'pending' }, $unset: { runAt: '' } });
  const ended = await user.ended(held!._id);

  expect(ended).toMatchObject({ status: 'succeeded' });
  expect(await liveIds(database.db)).toEqual(simulator.listIds().sort());
  expect((await second.samples()).get('stripe_sync_stripe_monthly_read_allowance')).toBe(10_000);
  expect((await second.samples()).get('stripe_sync_stripe_calls_this_month')).toBeGreaterThan(12);
});
