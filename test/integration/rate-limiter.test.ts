// Several replicas on one budget: the real SDK, a simulator that refuses what is too much, and MongoDB between them.
import { mongo } from 'mongoose';
import { beforeEach, describe, expect, test } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { createMongoClock } from '../../src/mongo/clock.js';
import { stateOf } from '../../src/mongo/sync-state.js';
import { createBudget } from '../../src/rate/budget.js';
import type { Budget } from '../../src/rate/budget.js';
import type { CallPriority, StripeId } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase, ours } from '../support/database.js';
import { mostPerSecond } from '../support/slot-model.js';
import { startGateway, type StripeConfig, type TestGateway } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

const database = freshDatabase();
const anyId = 'cus_any' as StripeId;
const signal = new AbortController().signal;

let simulator: StripeSimulator;
/** When slots were due that any replica was granted, on MongoDB's clock. */
let grantedAt: number[];

beforeEach(async () => {
  await stateOf(ours(database.db)).deleteMany({});
  grantedAt = [];
  simulator = await startSimulator({ logSize: 0 });
  atEnd(() => simulator.close());
  simulator.create({ id: anyId });
});

/** A gateway with a MongoDB client of its own, as in another process. */
async function replica(settings: Partial<StripeConfig>): Promise<TestGateway> {
  const client = await mongo.MongoClient.connect(database.uri, { writeConcern: { w: 'majority' } });
  const state = createBudget(stateOf(ours(client.db())));
  const budget: Budget = {
    slowDown: (slowdown) => state.slowDown(slowdown),
    count: (calls) => state.count(calls),
    take: async (wants, rates, reads) => {
      const answer = await state.take(wants, rates, reads);
      for (const slot of answer.slots) if (slot.kind === 'granted') grantedAt.push(slot.at);
      return answer;
    },
  };
  const gateway = startGateway(simulator, settings, { budget, clock: createMongoClock(client.db()) });
  atEnd(async () => {
    await gateway.gateway.close();
    await client.close();
  });
  return gateway;
}

/** Calls one after the other, until told to stop. */
async function callUntil(
  { customers }: TestGateway,
  priority: CallPriority,
  hasEnded: () => boolean,
  onFault = (error: unknown) => {
    throw error;
  },
): Promise<void> {
  while (!hasEnded()) {
    const call =
      priority === 'scan'
        ? customers.list({ limit: 1 }, { priority, signal })
        : customers.retrieve(anyId, { priority, signal });
    await call.catch(onFault);
  }
}

/** The usual distance of two slots; a machine that is busy with other things leaves some out. */
function medianGap(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((time, index) => time - sorted[index]!);
  return gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)]!;
}

describe('five replicas', () => {
  test('use the whole rate, never exceed it, and have nothing refused', async () => {
    const rate = 25;
    simulator.setLatency({ ms: 60, jitterMs: 40 });
    simulator.setLimits({ globalPerSecond: rate * 1.1 });
    const settings = { callsPerSecond: rate, callsPerSecondPerEndpoint: rate, maxInFlight: 4 };
    const replicas = await Promise.all(Array.from({ length: 5 }, () => replica(settings)));
    const hasEnded = () => grantedAt.length >= 4 * rate;

    await Promise.all(
      replicas.flatMap((each) =>
        ['scan', 'scan', 'small'].map((kind) => callUntil(each, kind as CallPriority, hasEnded)),
      ),
    );

    expect(mostPerSecond(grantedAt)).toBeLessThanOrEqual(rate);
    expect(medianGap(grantedAt)).toBeCloseTo(1_000 / rate, 1);
    expect(simulator.refused).toEqual({});
  });
});

describe('small calls', () => {
  test('do not wait behind the scans of any replica', async () => {
    simulator.setLatency({ ms: 20 });
    const settings = { callsPerSecond: 20, callsPerSecondPerEndpoint: 15, maxInFlight: 8 };
    const [scanning, other] = [await replica(settings), await replica(settings)];
    let isOver = false;
    const scans = [scanning, scanning, scanning, scanning, scanning, scanning, other, other].map((each) =>
      callUntil(each, 'scan', () => isOver),
    );
    await until(() => grantedAt.length > 10, { what: 'the scans to be at full rate' });

    const waits: number[] = [];
    for (let call = 0; call < 10; call += 1) {
      const startedAt = performance.now();
      await (call % 2 ? scanning : other).customers.retrieve(anyId, { priority: 'small', signal });
      waits.push(performance.now() - startedAt);
    }
    isOver = true;
    await Promise.all(scans);

    // Behind the scans it would be 400 ms and more; what is reserved already is at most 100 ms.
    expect(waits.sort((a, b) => a - b)[5]).toBeLessThan(250);
  });
});

describe('while Stripe refuses', () => {
  test('more than half of the rate, the replicas slow down together and hardly any call is in vain', async () => {
    simulator.setLimits({ endpointPerSecond: 12 });
    const settings = {
      callsPerSecond: 40,
      callsPerSecondPerEndpoint: 40,
      maxInFlight: 8,
      callDeadlineMs: 20_000,
    };
    const replicas = [await replica(settings), await replica(settings)];
    const hasEnded = () => (simulator.stats.answers['GET /v1/customers']?.['200'] ?? 0) >= 30;

    await Promise.all(replicas.flatMap((each) => [1, 2, 3].map(() => callUntil(each, 'scan', hasEnded))));

    const { refused, answers } = simulator.stats;
    expect(refused['endpoint-rate']).toBeGreaterThan(0);
    expect(refused['endpoint-rate']).toBeLessThan(answers['GET /v1/customers']!['200']!);
    const document = await stateOf(ours(database.db)).findOne({ _id: 'rate-limiter' });
    expect(document).toMatchObject({
      endpoints: { 'GET /v1/customers': { factor: expect.any(Number) as number } },
    });
    expect(document).not.toHaveProperty(['whole', 'factor']);
  });

  test('all calls, each reason is counted and none becomes a loop', async () => {
    for (const reason of ['global-rate', 'endpoint-concurrency', 'resource-specific'] as const) {
      simulator.fault({ kind: 'rateLimit', reason, times: Infinity });
      const { customers, observed } = await replica({ callsPerSecond: 100, callDeadlineMs: 1_500 });
      const options = { priority: 'small', signal } as const;

      // The waits of the tests are a hundredth of real ones; even so the limiter holds back.
      const fault: unknown = await customers.retrieve(anyId, options).catch((error: unknown) => error);

      expect(fault).toMatchObject({ code: 'stripe_rate_limited', kind: 'retryable' });
      expect(new Set(observed.limited)).toEqual(new Set([reason]));
      expect(observed.calls.length).toBeLessThan(60);
      simulator.clearFaults();
    }
  });
});

describe('while MongoDB does not answer', () => {
  test('no call is made, and all goes on when it answers again', async () => {
    const { customers } = await replica({ callsPerSecond: 50 });
    await customers.retrieve(anyId, { priority: 'small', signal });
    const failing = await database.failCommand({ failCommands: ['findAndModify'], closeConnection: true });

    const call = customers.retrieve(anyId, { priority: 'small', signal });
    await until(async () => (await failing.timesEntered()) >= 4, { what: 'some asks to fail' });
    expect(simulator.stats.calls['GET /v1/customers/{id}']).toBe(1);
    await failing.off();

    expect(await call).toMatchObject({ kind: 'found' });
  });

  test('for longer than a call may take it ends as a retryable fault', async () => {
    const { customers } = await replica({ callsPerSecond: 50, callDeadlineMs: 400 });
    await database.failCommand({ failCommands: ['findAndModify'], errorCode: 91 });

    await expect(customers.retrieve(anyId, { priority: 'small', signal })).rejects.toMatchObject({
      code: 'mongodb_unavailable',
      kind: 'retryable',
    });
    expect(simulator.stats.calls).toEqual({});
  });
});

test("answers are dated on MongoDB's clock, whatever this machine's says", async () => {
  simulator.setLatency({ ms: 80 });
  for (const callsPerSecond of [50, 0]) {
    const { customers } = await replica({ callsPerSecond });
    const serverTime = async () =>
      ((await database.db.command({ hello: 1 })) as { localTime: Date }).localTime.getTime();

    const before = await serverTime();
    const startedAt = performance.now();
    const answer = await customers.retrieve(anyId, { priority: 'small', signal });
    // A reading of MongoDB's clock is as uncertain as its round trip, which is part of this.
    const spentMs = Math.ceil(performance.now() - startedAt);
    const after = await serverTime();

    if (answer.kind !== 'found') throw new Error('Expected to find it');
    const { from, to } = answer.observed;
    expect(from.getTime()).toBeGreaterThanOrEqual(before - spentMs);
    expect(to.getTime()).toBeGreaterThanOrEqual(before + 80);
    expect(from.getTime()).toBeLessThanOrEqual(after - 80);
    expect(to.getTime()).toBeLessThanOrEqual(after + spentMs);
  }
});
