// The budget in MongoDB: shared, paced by the server's clock, and slowed down for all by one.
import { mongo } from 'mongoose';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { createMongoClock } from '../../src/mongo/clock.js';
import { stateOf } from '../../src/mongo/sync-state.js';
import { createBudget, type TakenSlots } from '../../src/rate/budget.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase, ours } from '../support/database.js';
import { until } from '../support/until.js';

const list = 'GET /v1/customers';
const retrieve = 'GET /v1/customers/{id}';
const database = freshDatabase();
const states = stateOf(ours(database.db));
/** Sets the cut that many milliseconds back. */
const ageCut = (ms: number) =>
  states.updateOne({ _id: 'rate-limiter' }, [
    { $set: { 'whole.cutAt': { $subtract: ['$whole.cutAt', ms] } } },
  ]);

/** A replica: a client of its own. */
async function replica() {
  const client = await mongo.MongoClient.connect(database.uri);
  atEnd(() => client.close());
  return createBudget(stateOf(ours(client.db())));
}

/** Milliseconds from asking to each slot that was granted. */
const granted = (answer: TakenSlots): number[] =>
  answer.slots.filter((slot) => slot.kind === 'granted').map(({ at }) => Math.round(at - answer.now));

beforeEach(() => states.deleteMany({}));

describe('slots', () => {
  test('are paced, and none is reserved more than 100 ms ahead', async () => {
    const state = await replica();

    const answer = await state.take(
      Array.from({ length: 20 }, () => list),
      {
        callsPerSecond: 50,
        callsPerSecondPerEndpoint: 0,
      },
    );

    expect(granted(answer)).toEqual([0, 20, 40, 60, 80]);
    expect(answer.callsPerSecond).toBe(50);
  });

  test('before those of a slow endpoint go to the others', async () => {
    const state = await replica();
    const rates = { callsPerSecond: 40, callsPerSecondPerEndpoint: 20 };

    const answer = await state.take([list, list, retrieve, retrieve], rates);

    expect(answer.slots.map(({ kind, at }) => kind === 'granted' && Math.round(at - answer.now))).toEqual([
      0, 50, 25, 75,
    ]);
  });

  test('that are refused say when to ask again', async () => {
    const state = await replica();
    const rates = { callsPerSecond: 2, callsPerSecondPerEndpoint: 0 };

    const { now, slots } = await state.take([list, list], rates);

    expect(slots[0]).toEqual({ kind: 'granted', at: now });
    expect(slots[1]).toMatchObject({
      kind: 'later',
      at: slots[0]!.at + 500.001,
      askAt: slots[0]!.at + 400.001,
    });
  });

  test('are one budget, also for replicas that make the document at the same time', async () => {
    const replicas = await Promise.all(Array.from({ length: 8 }, replica));
    const rates = { callsPerSecond: 1, callsPerSecondPerEndpoint: 0 };

    const answers = await Promise.all(replicas.map((state) => state.take([list], rates)));

    expect(answers.flatMap(granted)).toHaveLength(1);
    expect(await states.countDocuments()).toBe(1);
  });

  test('survive a clock that was set back: it costs a minute, no more', async () => {
    const state = await replica();
    await states.insertOne({ _id: 'rate-limiter', whole: { due: Date.now() + 86_400_000 } });

    const { now, slots } = await state.take([list], { callsPerSecond: 10, callsPerSecondPerEndpoint: 0 });

    expect((slots[0]?.at ?? 0) - now).toBeLessThanOrEqual(60_100);
  });

  test('without a rate are due at once, also where an update that began later came first', async () => {
    const state = await replica();
    const later = { due: Date.now() + 5_000 };
    await states.insertOne({ _id: 'rate-limiter', whole: later, endpoints: { [list]: later } });

    const answer = await state.take([list, list], { callsPerSecond: 0, callsPerSecondPerEndpoint: 0 });

    expect(granted(answer)).toEqual([0, 0]);
  });

  test('whose acknowledgement was lost on the way are asked for again, and none is granted twice', async () => {
    const state = await replica();
    const rates = { callsPerSecond: 1, callsPerSecondPerEndpoint: 0 };
    await database.failCommand({
      failCommands: ['findAndModify'],
      times: 1,
      writeConcernError: { code: 91, errmsg: 'shutting down' },
      errorLabels: ['RetryableWriteError'],
    });

    const answers = [await state.take([list], rates), await state.take([list], rates)];

    expect(answers.flatMap(granted).length).toBeLessThanOrEqual(1);
  });
});

describe('a refusal by Stripe', () => {
  const rates = { callsPerSecond: 40, callsPerSecondPerEndpoint: 20 };

  test('halves the rate for all replicas, at most once a second, and it grows back slowly', async () => {
    const [one, other] = [await replica(), await replica()];
    await one.take([list], rates);

    await one.slowDown({ cut: true, blockMs: 0 });
    await other.slowDown({ cut: true, blockMs: 0 });
    const { callsPerSecond } = await other.take([list], rates);

    expect(callsPerSecond).toBeGreaterThanOrEqual(20);
    expect(callsPerSecond).toBeLessThan(21);
    await ageCut(25_000);
    expect((await one.take([list], rates)).callsPerSecond).toBeCloseTo(30, 0);
    await ageCut(25_000);
    expect((await one.take([list], rates)).callsPerSecond).toBe(40);
  });

  test('of one endpoint leaves the others their rate', async () => {
    const state = await replica();
    await state.slowDown({ endpoint: list, cut: true, blockMs: 0 });

    const { slots, now, callsPerSecond } = await state.take([list, list, retrieve, retrieve], rates);

    expect(callsPerSecond).toBe(40);
    const [firstList, secondList, firstRetrieve, secondRetrieve] = slots.map(({ at }) => at - now);
    expect((secondList ?? 0) - (firstList ?? 0)).toBeGreaterThan(95);
    expect((secondRetrieve ?? 0) - (firstRetrieve ?? 0)).toBeLessThan(55);
  });

  test('with Retry-After blocks its scope until then', async () => {
    const state = await replica();
    await state.slowDown({ endpoint: list, cut: false, blockMs: 400 });

    const { slots, now } = await state.take([list, retrieve], rates);

    expect(slots.map((slot) => slot.kind)).toEqual(['later', 'granted']);
    expect((slots[0]?.at ?? 0) - now).toBeGreaterThan(300);
    await until(async () => (await state.take([list], rates)).slots[0]?.kind === 'granted', {
      what: 'the block to end',
    });
  });

  test('never stops the rate altogether', async () => {
    const state = await replica();
    for (let cut = 0; cut < 10; cut += 1) {
      await state.slowDown({ cut: true, blockMs: 0 });
      await ageCut(1_000);
    }

    const { callsPerSecond } = await state.take([list], rates);

    expect(callsPerSecond).toBeGreaterThanOrEqual(2);
    expect(callsPerSecond).toBeLessThan(4);
  });
});

describe("MongoDB's clock", () => {
  /** A database of a client of its own, and how often it was asked. */
  async function clockOfClient() {
    const client = await mongo.MongoClient.connect(database.uri, { monitorCommands: true });
    atEnd(() => client.close());
    let asked = 0;
    client.on('commandStarted', ({ commandName }) => {
      asked += commandName === 'hello' ? 1 : 0;
    });
    return { clock: createMongoClock(client.db()), asked: () => asked };
  }

  test('lies between the bounds', async () => {
    const { clock } = await clockOfClient();

    for (let reading = 0; reading < 20; reading += 1) {
      // The server runs on this machine: its clock is ours.
      const before = Date.now();
      const { earliest, latest } = await clock.interval();
      expect(earliest.getTime()).toBeLessThanOrEqual(Date.now());
      expect(latest.getTime()).toBeGreaterThanOrEqual(before);
      expect(latest.getTime() - earliest.getTime()).toBeLessThan(200);
    }
  });

  test('is asked once, however many want to know', async () => {
    const { clock, asked } = await clockOfClient();

    await Promise.all(Array.from({ length: 50 }, () => clock.interval()));
    await clock.interval();

    expect(asked()).toBe(1);
  });

  test('is asked again when the machine has slept, as its time of day shows', async () => {
    const { clock, asked } = await clockOfClient();
    await clock.interval();
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 });
    atEnd(() => void vi.useRealTimers());

    await clock.interval();
    await clock.interval();

    expect(asked()).toBe(2);
  });

  test('is not waited for after an abort', async () => {
    const { clock } = await clockOfClient();
    await database.failCommand({
      failCommands: ['hello'],
      blockConnection: true,
      blockTimeMS: 1_000,
      times: 1,
    });
    const reason = new Error('enough');
    const aborting = new AbortController();

    const reading = clock.interval(aborting.signal);
    aborting.abort(reason);

    await expect(reading).rejects.toBe(reason);
  });
});
