import { createdTimes, createRandom } from 'stripe-simulator';
import { describe, expect, it } from 'vitest';
import { ListPace } from '../../src/rate/list-pace.js';
import { firstWindows } from '../../src/sync/scan/plan.js';
import { fetchVirtually } from '../support/virtual-scan.js';

const now = Date.UTC(2026, 0, 1) / 1_000;
const threeYears = 3 * 365 * 86_400;

interface Case {
  customers: number;
  distribution: 'uniform' | 'growth' | 'spike' | 'same-second';
  rate: number;
  jitterMs: number;
  /** Of the ceiling, rate × 100 customers a second, in percent. */
  least: number;
  mostPages: number;
}

const account = ({ customers, distribution, rate, jitterMs }: Case) => {
  const random = createRandom(7);
  return {
    created: createdTimes(customers, distribution, now - threeYears, now - 1, 1),
    rate,
    latencyMs: 300,
    jitterMs,
    random: () => random.next(),
  };
};

/** Percent of rate × 100 customers a second. */
const shareOfCeiling = (customers: number, seconds: number, rate: number): number =>
  customers / (seconds * rate);

describe('the scan uses up the rate, however the account is spread', () => {
  const cases: Case[] = [
    { customers: 100_000, distribution: 'uniform', rate: 25, jitterMs: 0, least: 96, mostPages: 1.03 },
    { customers: 100_000, distribution: 'growth', rate: 25, jitterMs: 0, least: 96, mostPages: 1.03 },
    { customers: 100_000, distribution: 'spike', rate: 25, jitterMs: 250, least: 95, mostPages: 1.04 },
    { customers: 400_000, distribution: 'spike', rate: 100, jitterMs: 250, least: 95, mostPages: 1.04 },
    { customers: 400_000, distribution: 'growth', rate: 100, jitterMs: 0, least: 96, mostPages: 1.03 },
  ];
  it.each(cases)('$distribution, $customers customers at $rate calls/s', async (given) => {
    const { customers, rate, least, mostPages } = given;

    const { seconds, calls, rows } = await fetchVirtually(account(given), firstWindows(32, [], now));

    expect(rows).toBe(customers);
    expect(calls).toBeLessThanOrEqual((customers / 100) * mostPages);
    expect(shareOfCeiling(customers, seconds, rate)).toBeGreaterThanOrEqual(least);
  });

  it.each([1, 2, 3, 4, 5, 6])('wherever in time an import lies: sixth %i of 6', async (sixth) => {
    const random = createRandom(sixth);
    const imported = now - threeYears + (threeYears * (sixth - 0.5)) / 6;
    const created = Array.from({ length: 100_000 }, () =>
      Math.floor(random.next() < 0.6 ? imported + random.next() * 3_600 : now - threeYears * random.next()),
    ).sort((a, b) => a - b);

    const { seconds, calls, rows } = await fetchVirtually(
      { created, rate: 25, latencyMs: 300, jitterMs: 250, random: () => random.next() },
      firstWindows(32, [], now),
    );

    expect(rows).toBe(created.length);
    expect(calls).toBeLessThanOrEqual(1_040);
    expect(shareOfCeiling(created.length, seconds, 25)).toBeGreaterThanOrEqual(94);
  });

  it('goes on at the full rate beside a second that only one cursor can walk', async () => {
    const given = { customers: 50_000, distribution: 'same-second', rate: 25, jitterMs: 0 } as const;

    const { seconds, rows } = await fetchVirtually(
      account({ ...given, least: 0, mostPages: 0 }),
      firstWindows(32, [], now),
    );

    // 100 pages of one second take 30 s and more; 400 others 16 s at the full rate.
    expect(rows).toBe(given.customers);
    expect(seconds).toBeLessThan(30 + 16 + 2);
  });

  it('wastes few calls on a small account that it knows', async () => {
    const created = createdTimes(1_000, 'growth', now - threeYears, now - 1, 1);
    const known = Array.from(created);

    const { calls } = await fetchVirtually(
      { created, rate: 10, latencyMs: 300 },
      firstWindows(4, known, now),
    );

    expect(calls).toBeLessThanOrEqual(18);
  });
});

describe('calls in flight', () => {
  it('follow the rate and how long answers take, at most the setting', () => {
    const pace = new ListPace();
    expect(pace.atOnce(25, 256)).toBe(Math.ceil(25 * 0.3 * 1.7) + 4);
    expect(pace.atOnce(25, 8)).toBe(8);
    expect(pace.atOnce(0, 16)).toBe(16);

    for (let answer = 0; answer < 200; answer += 1) pace.learn(0.6);

    expect(pace.atOnce(25, 256)).toBe(Math.ceil(25 * 0.6 * 1.7) + 4);
  });

  it('do not take the first, cold calls for the rule', () => {
    const pace = new ListPace();

    for (let answer = 0; answer < 10; answer += 1) pace.learn(5);

    expect(pace.atOnce(25, 256)).toBe(17);
  });
});
