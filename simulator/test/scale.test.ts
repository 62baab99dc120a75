// Large and skewed accounts: a million customers, seeded repeatably, in Stripe's order.
import fc from 'fast-check';
import {
  type Distribution,
  type SeedOptions,
  startSimulator,
  stripeClient,
  type StripeSimulator,
} from 'stripe-simulator';
import { afterEach, describe, expect, it } from 'vitest';
import { CreationOrder } from '../src/creation-order.js';
import { createIdCodec } from '../src/customer-ids.js';

const FROM = 1_600_000_000;
const YEAR = 31_536_000;

let simulator: StripeSimulator | undefined;

afterEach(async () => {
  await simulator?.close();
  simulator = undefined;
});

describe('a seed', () => {
  it('gives the same customers again', async () => {
    const seed: SeedOptions = { count: 500, from: FROM, to: FROM + YEAR, seed: 5, deletedShare: 0.1 };
    simulator = await startSimulator({ seed });
    await using same = await startSimulator({ seed });
    await using different = await startSimulator({ seed: { ...seed, seed: 6 } });

    expect(same.list()).toEqual(simulator.list());
    expect(different.list()).not.toEqual(simulator.list());
  });

  it('deletes its share and puts its share on a test clock', async () => {
    simulator = await startSimulator();

    const result = simulator.seed({ count: 1000, deletedShare: 0.2, testClockShare: 0.1 });

    expect(result.count).toBe(1000);
    expect(result.deleted).toBeGreaterThan(150);
    expect(result.testClocks).toBeGreaterThan(60);
    expect(simulator.listedCount).toBe(1000 - result.deleted - result.testClocks);
    expect(simulator.list()).toHaveLength(simulator.listedCount);
  });

  it.each<[Distribution, (times: number[]) => number, number]>([
    ['uniform', (times) => shareAfter(times, FROM + YEAR / 2), 0.5],
    ['growth', (times) => shareAfter(times, FROM + YEAR / 2), 0.88],
    ['spike', (times) => busiest(times, 3600), 0.6],
    ['same-second', (times) => busiest(times, 1), 0.2],
  ])('is distributed as %s says', async (distribution, measure, expected) => {
    simulator = await startSimulator();
    simulator.seed({ count: 4000, distribution, from: FROM, to: FROM + YEAR });

    const times = simulator.list().map(({ created }) => created);

    expect(measure(times)).toBeCloseTo(expected, 1);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(FROM);
    expect(Math.max(...times)).toBeLessThanOrEqual(FROM + YEAR);
  });

  it('of a million is listed, filtered and retrieved like any other, beside later customers', async () => {
    simulator = await startSimulator({ seed: { count: 1_000_000, distribution: 'growth' }, logSize: 0 });
    const stripe = stripeClient(simulator);
    const late = simulator.create({});
    simulator.update(late.id, { name: 'Late' });

    const pages = await stripe.customers.list({ limit: 100 }).autoPagingToArray({ limit: 1000 });
    const last = await stripe.customers.list({ limit: 3, created: { lt: pages.at(-1)!.created - YEAR } });
    simulator.delete(pages[500]!.id);

    expect(pages[0]).toMatchObject({ id: late.id, name: 'Late' });
    expect(new Set(pages.map(({ id }) => id)).size).toBe(1000);
    expect(pages.every(({ created }, i) => i === 0 || created <= pages[i - 1]!.created)).toBe(true);
    expect(last.data.map(({ id }) => simulator?.get(id))).toEqual(last.data);
    expect(await stripe.customers.retrieve(pages[500]!.id)).toMatchObject({ deleted: true });
    expect(simulator.listedCount).toBe(1_000_000);
  });
});

describe('ids', () => {
  it('lead back to their record, and to none when they are not ours', () => {
    const record = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(record, record, (number, salt) => {
        const codec = createIdCodec('cus_', salt);
        const id = codec.encode(number);

        expect(id).toMatch(/^cus_[0-9A-Za-z]{14}$/);
        expect(codec.decode(id)).toBe(number);
        expect(codec.decode(`${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`)).toBeUndefined();
        expect(createIdCodec('cus_', salt + 1).decode(id)).toBeUndefined();
      }),
    );
  });
});

describe('the order of creation', () => {
  it('is by second, then by when they were added, singly or many at once', () => {
    const second = fc.integer({ min: 0, max: 6 });
    const step = fc.oneof(second, fc.array(second, { maxLength: 6 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const order = new CreationOrder();
        const expected: { created: number; record: number }[] = [];
        for (const one of steps) {
          const times = Array.isArray(one) ? one.toSorted((a, b) => a - b) : [one];
          const first = Array.isArray(one) ? order.addSorted(Uint32Array.from(times)) : order.add(one);
          times.forEach((created, i) => expected.push({ created, record: first + i }));
        }
        expected.sort((a, b) => a.created - b.created || a.record - b.record);

        expect(order.length).toBe(expected.length);
        expected.forEach(({ record, created }, position) => {
          expect(order.recordAt(position)).toBe(record);
          expect(order.positionOf(record)).toBe(position);
          expect(order.createdOf(record)).toBe(created);
        });
      }),
    );
  });
});

function shareAfter(times: number[], second: number): number {
  return times.filter((time) => time >= second).length / times.length;
}

/** The largest share within so many seconds. */
function busiest(times: number[], seconds: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  let first = 0;
  let most = 0;
  sorted.forEach((time, i) => {
    while (time - sorted[first]! >= seconds) first += 1;
    most = Math.max(most, i - first + 1);
  });
  return most / times.length;
}
