// Equal scans that wait: one runs for all, the others end with it if it does the work, and wait for themselves if it does not.
import type { mongo } from 'mongoose';
import { expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { freshDatabase } from '../support/database.js';
import { type AnyDocument, heldRunner, quickRunner, requestsLab, resultOf } from '../support/requests.js';
import { until } from '../support/until.js';

const scan = { command: 'syncAll' };

/** Two scans that wait, of which the first runs. */
async function oneForTwo(of: { first?: AnyDocument; second?: AnyDocument } = {}) {
  const lab = requestsLab(freshDatabase());
  const ids = await lab.insert({ ...scan, ...of.first }, { ...scan, ...of.second });
  const [first, second] = ids as [mongo.ObjectId, mongo.ObjectId];
  const ended: unknown[] = [];
  const runner = heldRunner();
  const worker = await lab.worker({
    runner,
    observer: { requestEnded: ({ status, count }) => void ended.push([status, count]) },
  });
  const run = await runner.nth(1);
  expect(run.context.requestId).toEqual(first);
  return { lab, worker, runner, run, ended, first, second };
}

test('those for the same wait for the one that runs, and end with it, its result copied', async () => {
  const { lab, runner, run, ended, first, second } = await oneForTwo({ second: { requestedBy: 'me' } });
  const [third] = await lab.insert({ ...scan, dryRun: true });

  const waiting = await lab.read(second);
  const items = [{ id: 'cus_1', outcome: 'unchanged' as const, code: 'not_in_account' as const }];
  run.succeed({ ...resultOf({ created: 4, unchanged: 1 }), items });
  const coalesced = await lab.ended(second);

  expect(waiting).toMatchObject({ ...scan, waitsFor: first });
  expect(['pending', undefined]).toContain(waiting['status']);
  expect(coalesced).toMatchObject({
    status: 'coalesced',
    coalescedInto: first,
    result: { created: 4, unchanged: 1, items },
    createdAt: second.getTimestamp(),
    expireAt: expect.any(Date) as unknown,
  });
  expect(coalesced).not.toHaveProperty('waitsFor');
  (await runner.nth(2)).succeed();
  await lab.ended(third!);
  await until(() => ended.length === 3, { what: 'all to be told' });
  expect(ended).toEqual([
    ['succeeded', 1],
    ['coalesced', 1],
    ['succeeded', 1],
  ]);
});

test('what another ended with is kept as long as its own request asks for, though that one goes sooner', async () => {
  const { lab, run, first, second } = await oneForTwo({ first: { requestedBy: 'cron' } });

  run.succeed(resultOf({ updated: 2 }));
  const { expireAt } = await lab.ended(second);
  const { expireAt: sooner } = await lab.ended(first);
  await lab.requests.deleteOne({ _id: first });

  const days = ((expireAt as Date).getTime() - (sooner as Date).getTime()) / 86_400_000;
  expect(days).toBeGreaterThan(6);
  expect(await lab.read(second)).toMatchObject({ result: { updated: 2 } });
});

test('where the one that runs fails, another runs for itself, and its key is its own', async () => {
  const { lab, runner, run, second } = await oneForTwo({
    first: { maxAttempts: 1 },
    second: { dedupeKey: 'nightly', maxAttempts: 1 },
  });

  run.fail(new Error('broken'));
  const next = await runner.nth(2);
  expect(next.context.requestId).toEqual(second);
  await expect(lab.insert({ ...scan, dedupeKey: 'nightly' })).rejects.toMatchObject({ code: 11_000 });
  next.fail(new Error('broken as well'));

  expect(await lab.ended(second)).toMatchObject({ status: 'failed' });
  await lab.insert({ ...scan, dedupeKey: 'nightly', cancel: true });
});

test('where the one that runs is cancelled, another runs for itself', async () => {
  const { lab, runner, first, second } = await oneForTwo();

  await lab.requests.updateOne({ _id: first }, { $set: { cancel: true } });
  expect(await lab.ended(first)).toMatchObject({ status: 'cancelled' });
  (await runner.nth(2)).succeed(resultOf({ updated: 1 }));

  expect(await lab.ended(second)).toMatchObject({ status: 'succeeded', result: { updated: 1 } });
});

test('one that waits for another can be cancelled by itself', async () => {
  const { lab, run, first, second } = await oneForTwo();

  await lab.requests.updateOne({ _id: second }, { $set: { cancel: true } });

  expect(await lab.ended(second)).toMatchObject({ status: 'cancelled' });
  run.succeed();
  expect(await lab.ended(first)).toMatchObject({ status: 'succeeded' });
  expect(await lab.read(second)).not.toHaveProperty('waitsFor');
});

test('while the one that runs is to be tried again, the others wait for it', async () => {
  const { lab, runner, run, first, second } = await oneForTwo();

  run.fail(new Fault('stripe_unavailable', 'Away', { kind: 'retryable' }));
  const again = await runner.nth(2);

  expect(again.context.requestId).toEqual(first);
  again.succeed();
  expect(await lab.ended(second)).toMatchObject({ status: 'coalesced', coalescedInto: first });
  expect(runner.runs).toHaveLength(2);
});

test('what a dead process has left to wait is seen to by the others', async () => {
  const lab = requestsLab(freshDatabase());
  const [done] = await lab.insert({ ...scan, status: 'succeeded', result: resultOf({ created: 3 }) });
  const [failed] = await lab.insert({ ...scan, status: 'failed' });
  const gone = failed!.getTimestamp();
  const [withDone, withFailed, withNothing, withItself] = await lab.insert(
    { ...scan, waitsFor: done },
    { ...scan, waitsFor: failed, dryRun: true },
    { ...scan, waitsFor: gone },
    scan,
  );
  await lab.requests.updateOne({ _id: withItself! }, { $set: { waitsFor: withItself } });

  await lab.worker({ runner: quickRunner() });

  expect(await lab.ended(withDone!)).toMatchObject({ status: 'coalesced', result: { created: 3 } });
  expect(await lab.ended(withFailed!)).toMatchObject({ status: 'succeeded' });
  for (const id of [withNothing!, withItself!])
    expect(['succeeded', 'coalesced']).toContain((await lab.ended(id))['status']);
});

test('one that ended with another, and is set back by hand, runs for itself', async () => {
  const { lab, runner, run, second } = await oneForTwo();
  run.succeed();
  await lab.ended(second);

  await lab.requests.updateOne({ _id: second }, { $set: { status: 'pending' } });
  (await runner.nth(2)).succeed(resultOf({ updated: 5 }));

  const ended = await lab.reaching(second, 'ended again', ({ status }) => status === 'succeeded');
  expect(ended).toMatchObject({ result: { updated: 5 } });
  expect(ended).not.toHaveProperty('coalescedInto');
});

test('a scan that was set back or released before it read anything runs for the others, too', async () => {
  const lab = requestsLab(freshDatabase());
  const lease = { owner: 'another', fence: 7 };
  const [first, second] = await lab.insert({ ...scan, status: 'pending', lease }, scan);
  const runner = heldRunner();
  await lab.worker({ runner });

  (await runner.nth(1)).succeed();

  expect(await lab.ended(second!)).toMatchObject({ status: 'coalesced', coalescedInto: first });
});

test('a scan that goes on from its checkpoint runs for itself alone', async () => {
  const lab = requestsLab(freshDatabase());
  const [first, second] = await lab.insert(scan, scan);
  const checkpoint = { requestId: String(first), windows: [{ gte: 0 }] };
  await lab.state.insertOne({ _id: 'scan:customer', checkpoint });
  const runner = heldRunner();
  await lab.worker({ runner });

  const run = await runner.nth(1);
  expect(await lab.read(second!)).not.toHaveProperty('waitsFor');
  await lab.state.deleteOne({ _id: 'scan:customer' });
  run.succeed();

  (await runner.nth(2)).succeed();
  expect(await lab.ended(second!)).toMatchObject({ status: 'succeeded' });
});

test('a command that works by itself does not wait for a process that died', async () => {
  const lab = requestsLab(freshDatabase());
  const lease = { owner: 'dead', fence: 1, expiresAt: new Date(Date.now() + 300) };
  const [dead] = await lab.insert({ ...scan, status: 'running', lease });
  const [id] = await lab.insert({ ...scan, waitsFor: dead });
  const worker = await lab.worker({ runner: quickRunner(), start: false });

  expect(await worker.runOnce(id!, AbortSignal.timeout(10_000))).toMatchObject({ status: 'succeeded' });
});
