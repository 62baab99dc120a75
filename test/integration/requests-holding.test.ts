// Who holds a request: the lease and its fence, holders that die, are paused or do not reach MongoDB.
import { mongo } from 'mongoose';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { isFault } from '../../src/base/errors.js';
import { Attempt } from '../../src/requests/attempt.js';
import type { Claimed } from '../../src/requests/claims.js';
import { silentRequestsObserver } from '../../src/requests/observer.js';
import { Sweeper } from '../../src/requests/upkeep/sweep.js';
import { freshDatabase } from '../support/database.js';
import {
  heldRunner,
  Holder,
  noInsertions,
  quickRunner,
  quickSettings,
  requestsLab,
  type RequestsLab,
  resultOf,
  type Run,
} from '../support/requests.js';
import { until } from '../support/until.js';

const small = { command: 'softDelete', stripeId: 'cus_1' };

/** A process that claims and then does what the test says: nothing, if it has died. */
async function holder(lab: RequestsLab, leaseMs = 2_000) {
  const owner = `holder-${new mongo.ObjectId().toHexString()}`;
  return new Holder(await lab.connect(), owner, { ...quickSettings, leaseMs });
}

async function claim(queue: Holder, id: mongo.ObjectId): Promise<Extract<Claimed, { kind: 'valid' }>> {
  const claimed = await queue.claims.claim(id, ['softDelete', 'syncAll']);
  if (claimed?.kind !== 'valid') throw new Error('not claimed');
  return claimed;
}

const leaseEndOf = async (lab: RequestsLab, id: mongo.ObjectId): Promise<number> =>
  ((await lab.read(id))['lease'] as { expiresAt: Date }).expiresAt.getTime();

const abortCode = ({ context }: Run): string | undefined =>
  isFault(context.signal.reason) ? context.signal.reason.code : undefined;

afterEach(() => {
  vi.useRealTimers();
});

describe('a lease', () => {
  test('is renewed while the request runs, so that nobody else takes it', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner, settings: { leaseMs: 2_000 } });
    const [id] = await lab.insert(small);
    const run = await runner.nth(1);
    await lab.worker({ runner, settings: { leaseMs: 2_000 } });
    const ends = new Set<number>();

    await until(
      async () => {
        return ends.add(await leaseEndOf(lab, id!)).size > 5;
      },
      { what: 'five renewals' },
    );

    expect(runner.runs).toHaveLength(1);
    run.succeed();
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', attempts: 1, lease: { fence: 1 } });
  });

  test('that a slow claim has used up in part is renewed by its age', async () => {
    const lab = requestsLab(freshDatabase());
    const leaseMs = 30_000;
    const [id] = await lab.insert(small);
    const slow = await holder(lab, leaseMs);
    const { claim: claimed, ...rest } = await claim(slow, id!);
    const before = await leaseEndOf(lab, id!);
    // The answer has taken all but five seconds of the lease.
    const aged = { ...rest, claim: { ...claimed, leaseUntilMs: performance.now() + 5_000 } };
    const runner = heldRunner();

    const ending = new Attempt(aged, {
      steps: slow,
      runner,
      insertions: noInsertions,
      logger: lab.logger,
      observer: silentRequestsObserver,
      random: () => 0,
      givingUp: new AbortController().signal,
    }).make();
    await until(async () => (await leaseEndOf(lab, id!)) > before, { what: 'the renewal' });
    (await runner.nth(1)).succeed();

    expect(await ending).toEqual({ kind: 'ended' });
    expect(await lab.read(id!)).toMatchObject({ status: 'succeeded', attempts: 1 });
  });

  test('of a holder that died runs out, and the request goes on elsewhere within lease and poll', async () => {
    const lab = requestsLab(freshDatabase());
    const [id] = await lab.insert(small);
    const died = await holder(lab);
    await claim(died, id!);
    const from = performance.now();

    const runner = quickRunner();
    await lab.worker({ runner });

    const request = await lab.ended(id!);
    expect(performance.now() - from).toBeLessThan(2_000 + quickSettings.pollIntervalMs + 10_000);
    expect(request).toMatchObject({
      status: 'succeeded',
      attempts: 2,
      lease: { fence: 2 },
      history: [{ attempt: 1, owner: died.owner, error: { code: 'lease_lost' } }, { attempt: 2 }],
    });
  });

  test('lost again and again uses the attempts up', async () => {
    const lab = requestsLab(freshDatabase());
    const [id] = await lab.insert(small);
    const died = await holder(lab, 500);
    const housekeeping = new Sweeper(await lab.connect(), quickSettings, lab.logger, silentRequestsObserver);
    const recovered = () => housekeeping.recover(AbortSignal.timeout(20_000));

    for (let attempt = 1; attempt <= 3; attempt += 1) {
      expect((await claim(died, id!)).claim.attempt).toBe(attempt);
      await until(async () => (await recovered()) === 1, { what: 'the lease to run out' });
    }

    expect(await lab.read(id!)).toMatchObject({
      status: 'failed',
      attempts: 3,
      error: { code: 'attempts_exhausted', cause: { code: 'lease_lost' } },
      history: [{ attempt: 1 }, { attempt: 2 }, { attempt: 3 }],
      expireAt: expect.any(Date) as unknown,
    });
  });

  test('that a paused holder has outlived lets it change nothing any more', async () => {
    const lab = requestsLab(freshDatabase());
    const [id] = await lab.insert(small);
    const paused = await holder(lab);
    const { claim: old } = await claim(paused, id!);
    const runner = heldRunner();
    await lab.worker({ runner });
    const run = await runner.nth(1);
    const taken = await lab.read(id!);
    const error = { code: 'internal', message: 'late' } as const;

    const late = [
      await paused.renew(old, { progress: { done: 1 } }),
      await paused.finish(old, 1, { status: 'succeeded', result: resultOf({ created: 99 }) }),
      await paused.requeue(old, 1, { kind: 'retry', error, delayMs: 10 }),
      await paused.requeue(old, 1, { kind: 'release', error, delayMs: 0 }),
    ];

    expect(late).toEqual(['lost', 'lost', 'lost', 'lost']);
    expect(await lab.read(id!)).toMatchObject({
      status: 'running',
      lease: { fence: 2 },
      startedAt: taken['startedAt'],
    });
    run.succeed(resultOf({ updated: 1 }));
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', result: { updated: 1, created: 0 } });
    expect(await paused.finish(old, 1, { status: 'failed' })).toBe('lost');
    expect(await lab.read(id!)).toMatchObject({ status: 'succeeded' });
  });

  test('that was recovered and not yet taken again counts as lost, too', async () => {
    const lab = requestsLab(freshDatabase());
    const [id] = await lab.insert(small);
    const paused = await holder(lab);
    const { claim: old } = await claim(paused, id!);

    await lab.requests.updateOne(
      { _id: id! },
      { $set: { status: 'pending' }, $unset: { 'lease.expiresAt': 1 } },
    );

    expect(await paused.renew(old, {})).toBe('lost');
    expect(await paused.finish(old, 1, { status: 'succeeded' })).toBe('lost');
  });

  test('of an earlier claim says nothing about a later one of the same process', async () => {
    const lab = requestsLab(freshDatabase());
    const [id] = await lab.insert(small);
    const queue = await holder(lab);
    const { claim: old } = await claim(queue, id!);
    await lab.requests.updateOne({ _id: id! }, { $set: { status: 'pending' } });
    const { claim: current } = await claim(queue, id!);

    expect(await queue.renew(old, {})).toBe('lost');
    expect(await queue.finish(old, 1, { status: 'failed' })).toBe('lost');
    expect(await queue.renew(current, {})).toBe('held');
    expect(await queue.finish(current, 1, { status: 'succeeded' })).toBe('held');
  });

  test('that cannot be renewed until it has run out ends the run, which then writes nothing', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const runner = heldRunner();
    await lab.worker({ runner, settings: { leaseMs: 2_000 } });
    const [id] = await lab.insert(small);
    const run = await runner.nth(1);

    const failpoint = await database.failCommand({ failCommands: ['findAndModify'], errorCode: 91 });
    await until(() => run.isOver, { what: 'the run to be given up' });

    expect(abortCode(run)).toBe('lease_lost');
    expect(await lab.read(id!)).toMatchObject({ status: 'running', lease: { fence: 1 } });
    await failpoint.off();
    (await runner.nth(2)).succeed();
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', attempts: 2, lease: { fence: 2 } });
  });

  test('that ran out while the process stood still lets nothing be written, though no timer has told yet', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner });
    await lab.insert(small);
    const { context } = await runner.nth(1);
    context.assertHeld();

    const wakesUpAt = performance.now() + quickSettings.leaseMs;
    while (performance.now() < wakesUpAt);

    expect(context.signal.aborted).toBe(false);
    expect(() => context.assertHeld()).toThrow(expect.objectContaining({ code: 'lease_lost' }) as Error);
    expect(context.signal.aborted).toBe(true);
    const again = await runner.nth(2);
    again.succeed();
  });

  test('is gone with its request: a run whose request was removed or set back is given up', async () => {
    const lab = requestsLab(freshDatabase());
    const runner = heldRunner();
    await lab.worker({ runner, settings: { leaseMs: 2_000 } });
    const [removed, setBack] = await lab.insert(small, { command: 'softDelete', stripeId: 'cus_2' });
    const [first, second] = [await runner.nth(1), await runner.nth(2)];

    await lab.requests.deleteOne({ _id: removed! });
    await lab.requests.updateOne({ _id: setBack! }, { $set: { status: 'pending' } });

    await until(() => first.isOver && second.isOver, { what: 'both runs to be given up' });
    expect([abortCode(first), abortCode(second)]).toEqual(['lease_lost', 'lease_lost']);
    (await runner.nth(3)).succeed();
    expect(await lab.ended(setBack!)).toMatchObject({ status: 'succeeded' });
    expect(await lab.requests.countDocuments()).toBe(1);
  });

  test.each([3_600_000, -3_600_000])(
    'holds by the clock of MongoDB, though that of a replica is %i ms off',
    async (offMs) => {
      const lab = requestsLab(freshDatabase());
      const [held, later, now] = await lab.insert(
        small,
        { ...small, runAt: new Date(Date.now() + 1_800_000) },
        { ...small, runAt: new Date(Date.now() - 1_000) },
      );
      const other = await holder(lab, 60_000);
      await claim(other, held!);
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + offMs });

      const runner = quickRunner();
      const worker = await lab.worker({ runner });

      await lab.ended(now!);
      const polls = worker.lastPollAt!;
      await until(() => worker.lastPollAt! > polls, { what: 'another poll' });
      expect(await lab.read(held!)).toMatchObject({ status: 'running', lease: { owner: other.owner } });
      expect((await lab.read(later!))['status']).toBeUndefined();
      expect(runner.runs).toHaveLength(1);
      const { startedAt } = await lab.read(now!);
      vi.useRealTimers();
      expect(Math.abs((startedAt as Date).getTime() - Date.now())).toBeLessThan(60_000);
    },
  );
});

describe('an answer of MongoDB that is lost', () => {
  test.each([
    ['finishing', () => resultOf({ created: 1 }), { status: 'succeeded', attempts: 1 }],
    [
      'setting back',
      ({ attempt }: { attempt: number }) => {
        if (attempt === 1) throw new Error('passing');
        return resultOf({ created: 1 });
      },
      { status: 'succeeded', attempts: 2 },
    ],
  ])('when %s is found again, and nothing is done twice', async (_name, work, expected) => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const ended: string[] = [];
    const runner = quickRunner((_command, context) => work(context));
    const worker = await lab.worker({
      runner,
      observer: { requestEnded: ({ status }) => void ended.push(status) },
      start: false,
    });
    const failpoint = await database.failCommand({
      failCommands: ['update'],
      writeConcernError: { code: 64, errmsg: 'late' },
      times: 2,
    });
    const [id] = await lab.insert(small);

    const request = await worker.runOnce(id!, AbortSignal.timeout(20_000));

    expect(request).toMatchObject(expected);
    expect(request.history).toHaveLength(expected.attempts);
    expect(ended).toEqual(['succeeded']);
    expect(await failpoint.timesEntered()).toBe(2);
  });

  test('for a while keeps a result until MongoDB is back', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const runner = heldRunner();
    await lab.worker({ runner, settings: { leaseMs: 2_000 } });
    const [id] = await lab.insert(small);
    const run = await runner.nth(1);

    const failpoint = await database.failCommand({ failCommands: ['update'], closeConnection: true });
    run.succeed(resultOf({ updated: 7 }));
    await until(async () => (await failpoint.timesEntered()) >= 4, { what: 'some tries' });
    expect(await lab.read(id!)).toMatchObject({ status: 'running' });
    await failpoint.off();

    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', result: { updated: 7 } });
  });

  test('late does not cost a lease, nor run anything twice', async () => {
    const database = freshDatabase();
    const lab = requestsLab(database);
    const runner = heldRunner();
    await lab.worker({ runner, settings: { leaseMs: 3_000 } });
    await lab.worker({ runner, settings: { leaseMs: 3_000 } });
    const [id] = await lab.insert(small);
    const run = await runner.nth(1);

    const failpoint = await database.failCommand({
      failCommands: ['findAndModify', 'update', 'find'],
      blockConnection: true,
      // The server stops at it several times in one command.
      blockTimeMS: 250,
    });
    const { lease } = await lab.read(id!);
    const until3 = (lease as { expiresAt: Date }).expiresAt.getTime() + 2_000;
    await until(() => Date.now() > until3, { what: 'more than a lease to pass' });
    await failpoint.off();

    expect(run.context.signal.aborted).toBe(false);
    run.succeed();
    expect(await lab.ended(id!)).toMatchObject({ status: 'succeeded', attempts: 1, lease: { fence: 1 } });
    expect(runner.runs).toHaveLength(1);
  });
});
