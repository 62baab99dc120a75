// The law of the rate limiter: in no second of MongoDB's clock is more granted than the rate, whoever asks for what, how often.
import fc from 'fast-check';
import { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { stateOf } from '../../src/mongo/sync-state.js';
import { createBudget, type Slot } from '../../src/rate/budget.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase, ours } from '../support/database.js';
import { mostPerSecond, SlotModel } from '../support/slot-model.js';

const endpoints = ['GET /v1/customers', 'GET /v1/customers/{id}', 'GET /v1/events'];
const anyWants = fc.array(fc.constantFrom(...endpoints), { minLength: 1, maxLength: 30 });
const anyRates = fc.record({
  callsPerSecond: fc.oneof(fc.constant(0), fc.double({ min: 0.5, max: 200, noNaN: true })),
  callsPerSecondPerEndpoint: fc.oneof(fc.constant(0), fc.double({ min: 0.5, max: 200, noNaN: true })),
});
type Rates = { callsPerSecond: number; callsPerSecondPerEndpoint: number };
type Grant = { endpoint: string; at: number };

const grantsOf = (wants: readonly string[], slots: readonly Slot[]): Grant[] =>
  wants.flatMap((endpoint, index) => {
    const slot = slots[index];
    return slot?.kind === 'granted' ? [{ endpoint, at: slot.at }] : [];
  });

const times = (slots: readonly Slot[]): number[] =>
  slots.flatMap((slot) => [slot.at, slot.kind === 'later' ? slot.askAt : 0]);

/** Apart by the rate's interval, so that a second holds no more than the rate. */
function expectPaced(times: readonly number[], rate: number): void {
  if (rate === 0) return;
  const sorted = [...times].sort((a, b) => a - b);
  sorted.slice(1).forEach((time, index) => {
    expect(time - (sorted[index] ?? 0)).toBeGreaterThanOrEqual(1_000 / rate);
  });
  expect(mostPerSecond(sorted)).toBeLessThanOrEqual(Math.ceil(rate));
}

function expectLaw(grants: readonly Grant[], rates: Rates): void {
  expectPaced(
    grants.map(({ at }) => at),
    rates.callsPerSecond,
  );
  for (const name of endpoints) {
    const own = grants.filter(({ endpoint }) => endpoint === name);
    expectPaced(
      own.map(({ at }) => at),
      rates.callsPerSecondPerEndpoint,
    );
  }
}

describe('grants never exceed the rate in any second', () => {
  test('whatever is asked for, and however far apart', () => {
    const anyAsks = fc.array(fc.record({ wants: anyWants, afterMs: fc.nat({ max: 300 }) }), {
      minLength: 1,
      maxLength: 60,
    });
    fc.assert(
      fc.property(anyRates, anyAsks, (rates, asks) => {
        const model = new SlotModel();
        let now = 1_795_000_000_000;
        const grants = asks.flatMap(({ wants, afterMs }) => {
          now += afterMs;
          const { slots } = model.take(now, wants, rates);
          for (const { kind, at } of slots)
            expect(kind === 'later' || (at >= now && at <= now + 100)).toBe(true);
          return grantsOf(wants, slots);
        });
        expectLaw(grants, rates);
      }),
    );
  });

  test('when several replicas ask MongoDB at once', { timeout: 60_000 }, async () => {
    const database = freshDatabase();
    const replicas = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const client = await mongo.MongoClient.connect(database.uri);
        atEnd(() => client.close());
        return createBudget(stateOf(ours(client.db())));
      }),
    );
    await fc.assert(
      fc.asyncProperty(
        anyRates,
        fc.array(fc.array(anyWants, { minLength: 1, maxLength: 6 }), { minLength: 4, maxLength: 4 }),
        async (rates, asks) => {
          await stateOf(ours(database.db)).deleteMany({});
          const grants = await Promise.all(
            replicas.map(async (replica, index) => {
              const own: Grant[] = [];
              for (const wants of asks[index] ?? []) {
                own.push(...grantsOf(wants, (await replica.take(wants, rates)).slots));
              }
              return own;
            }),
          );
          expectLaw(grants.flat(), rates);
        },
      ),
      { numRuns: 25 },
    );
  });
});

test('MongoDB grants, slows down and recovers exactly as the model does', { timeout: 60_000 }, async () => {
  const database = freshDatabase();
  const states = stateOf(ours(database.db));
  const state = createBudget(states);
  const anyStep = fc.oneof(
    { weight: 4, arbitrary: fc.record({ wants: anyWants }) },
    {
      weight: 1,
      arbitrary: fc.record({
        endpoint: fc.option(fc.constantFrom(...endpoints), { nil: undefined }),
        cut: fc.boolean(),
        blockMs: fc.constantFrom(0, 30, 400_000),
      }),
    },
  );
  await fc.assert(
    fc.asyncProperty(anyRates, fc.array(anyStep, { minLength: 1, maxLength: 12 }), async (rates, steps) => {
      await states.deleteMany({});
      const model = new SlotModel();
      for (const step of steps) {
        if ('wants' in step) {
          const { now, slots, callsPerSecond } = await state.take(step.wants, rates);
          const expected = model.take(now, step.wants, rates);
          expect(slots.map(({ kind }) => kind)).toEqual(expected.slots.map(({ kind }) => kind));
          times(slots).forEach((time, index) =>
            expect(time).toBeCloseTo(times(expected.slots)[index] ?? 0, 1),
          );
          expect(callsPerSecond).toBeCloseTo(expected.callsPerSecond, 6);
        } else {
          await state.slowDown(step);
          model.slowDown(await slowedAt(step.endpoint), step);
        }
      }
    }),
    { numRuns: 40 },
  );

  async function slowedAt(endpoint: string | undefined): Promise<number> {
    const document = await states.findOne({ _id: 'rate-limiter' });
    const { whole, endpoints: each } = document as unknown as Record<
      'whole' | 'endpoints',
      Record<string, unknown>
    >;
    return Number(
      endpoint === undefined ? whole['slowedAt'] : (each[endpoint] as { slowedAt: number }).slowedAt,
    );
  }
});
