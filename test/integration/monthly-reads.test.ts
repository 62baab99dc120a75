// Calls counted by calendar month over all replicas, and the allowance that holds scans back.
import { mongo } from 'mongoose';
import { beforeEach, describe, expect, test } from 'vitest';
import { stateOf } from '../../src/mongo/sync-state.js';
import { createBudget, readBudget, type TakenSlots } from '../../src/rate/budget.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase, ours } from '../support/database.js';
import { openScanBench } from '../support/scan.js';

const list = 'GET /v1/customers';
const retrieve = 'GET /v1/customers/{id}';
const unlimited = { callsPerSecond: 0, callsPerSecondPerEndpoint: 0 };
const database = freshDatabase();
const states = stateOf(ours(database.db));

/** A replica: a client of its own. */
async function replica() {
  const client = await mongo.MongoClient.connect(database.uri);
  atEnd(() => client.close());
  return createBudget(stateOf(ours(client.db())));
}

const callsThisMonth = async (of = states): Promise<number> => (await readBudget(of)).callsThisMonth;
const wants = (count: number): string[] => Array.from({ length: count }, () => list);
const grantedIn = ({ slots }: TakenSlots): boolean[] => slots.map(({ kind }) => kind === 'granted');
/** Makes what was counted so far last month's. */
const monthEnds = (of = states) =>
  of.updateOne({ _id: 'rate-limiter' }, [
    {
      $set: { 'month.startedAt': { $dateAdd: { startDate: '$month.startedAt', unit: 'month', amount: -1 } } },
    },
  ]);
const setCalls = (calls: number, of = states) =>
  of.updateOne({ _id: 'rate-limiter' }, { $set: { 'month.calls': calls } });

beforeEach(() => states.deleteMany({}));

describe('the calls of a calendar month', () => {
  test('are counted over all replicas, with and without slots, and outlive them', async () => {
    const replicas = await Promise.all([replica(), replica(), replica()]);
    expect(await callsThisMonth()).toBe(0);

    await Promise.all(replicas.map((each) => each.take(wants(4), unlimited)));
    await Promise.all(replicas.map((each) => each.count(5)));

    expect(await callsThisMonth()).toBe(27);
    const { month } = await (await replica()).take(wants(1), unlimited);
    expect(month.calls).toBe(28);
  });

  test('are those that were granted a slot, less the slots that passed unused', async () => {
    const state = await replica();
    const paced = { callsPerSecond: 50, callsPerSecondPerEndpoint: 0 };
    const grantedTo = async (unused: number): Promise<number> =>
      grantedIn(await state.take(wants(20), paced, { allowance: 0, scansFrom: Infinity, unused })).filter(
        Boolean,
      ).length;

    const granted = [await grantedTo(0), await grantedTo(2)];

    expect(granted[0]).toBe(5);
    expect(await callsThisMonth()).toBe(5 + granted[1]! - 2);
    await grantedTo(1_000);
    expect(await callsThisMonth()).toBe(0);
  });

  test("begin anew with the month of MongoDB's clock, also where nobody has called since", async () => {
    const state = await replica();
    const { now, month } = await state.take(wants(7), unlimited);
    const today = new Date(now);
    expect(month.endsAt).toBe(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + 1));

    await monthEnds();

    expect(await callsThisMonth()).toBe(0);
    await state.count(2);
    expect(await callsThisMonth()).toBe(2);
  });

  test.each([
    ['paced', { callsPerSecond: 100, callsPerSecondPerEndpoint: 100 }],
    ['not paced', { callsPerSecond: 0, callsPerSecondPerEndpoint: 0 }],
  ])('are as many as Stripe has seen, %s', async (_how, settings) => {
    const own = freshDatabase();
    const bench = await openScanBench(own, { seed: { count: 2_000 } }, settings);

    await bench.scan();
    await bench.closeGateway();

    const calls = Object.values(bench.simulator.stats.calls).reduce((sum, count) => sum + count, 0);
    expect(calls).toBeGreaterThanOrEqual(20);
    const counted = await callsThisMonth(stateOf(ours(own.db)));
    expect(counted).toBeGreaterThanOrEqual(calls);
    // A catch-up in vain is given up, up to three times in a scan, perhaps before its call is sent.
    expect(counted).toBeLessThanOrEqual(calls + 3);
  });
});

describe('a used allowance', () => {
  test('gives scans no slot, and small calls theirs', async () => {
    const state = await replica();
    const asked = [retrieve, list, retrieve, list, list];
    const reads = { allowance: 10, scansFrom: 3, unused: 0 };

    const before = await state.take(asked, unlimited, reads);
    const during = await state.take(asked, unlimited, reads);
    const after = await state.take(asked, unlimited, reads);

    expect(grantedIn(before)).toEqual([true, true, true, true, true]);
    expect(grantedIn(during)).toEqual([true, true, true, true, true]);
    expect(grantedIn(after)).toEqual([true, true, true, false, false]);
    expect(after.month.calls).toBe(13);
    await monthEnds();
    expect(grantedIn(await state.take(asked, unlimited, reads))).not.toContain(false);
  });

  test('is told at 80 % and at 100 %, once a month over all replicas', async () => {
    const replicas = await Promise.all([replica(), replica(), replica(), replica()]);
    const reads = { allowance: 100, scansFrom: 0, unused: 0 };
    const useUp = async () => {
      const answers = await Promise.all(
        replicas.flatMap((each) => Array.from({ length: 9 }, () => each.take(wants(3), unlimited, reads))),
      );
      return answers.flatMap(({ month }) => (month.news ? [{ news: month.news, calls: month.calls }] : []));
    };

    const told = await useUp();

    expect(told.map(({ news }) => news).sort()).toEqual(['nearly_used', 'used_up']);
    for (const { news, calls } of told) expect(calls).toBeGreaterThanOrEqual(news === 'used_up' ? 100 : 80);
    await setCalls(75);
    expect(await useUp()).toEqual([]);
    await monthEnds();
    expect(await useUp()).toHaveLength(2);
  });

  test('is told again for a larger one, also while replicas disagree during a rollout', async () => {
    const [one, other] = [await replica(), await replica()];
    const newsOf = async (state: typeof one, allowance: number) =>
      (await state.take(wants(1), unlimited, { allowance, scansFrom: 1, unused: 0 })).month.news;
    await one.count(100);

    expect(await newsOf(one, 50)).toBe('used_up');
    expect(await newsOf(other, 120)).toBe('nearly_used');
    expect(await newsOf(one, 50)).toBeUndefined();
    expect(await newsOf(other, 120)).toBeUndefined();
  });

  test('is no news to a replica that has none', async () => {
    const [one, other] = [await replica(), await replica()];
    await one.take(wants(5), unlimited, { allowance: 5, scansFrom: 5, unused: 0 });

    const { month } = await other.take(wants(1), unlimited);

    expect(month).toMatchObject({ calls: 6, news: undefined });
  });

  test('holds a scan where it is, its checkpoint kept, and it goes on from there when the month has ended', async () => {
    const own = freshDatabase();
    const bench = await openScanBench(own, { seed: { count: 3_000 } }, { monthlyReadAllowance: 12 });

    const held: unknown = await bench.scan().catch((error: unknown) => error);

    expect(held).toMatchObject({ code: 'read_allowance_used', kind: 'retryable' });
    const { retryAfterMs } = held as { retryAfterMs: number };
    expect(retryAfterMs).toBeGreaterThan(0);
    expect(retryAfterMs).toBeLessThanOrEqual(3_600_000);
    for (let again = 0; again < 5; again += 1)
      await expect(bench.scan()).rejects.toMatchObject({ code: 'read_allowance_used' });
    // Exactly but for what one question asks for, which goes through as a whole, and for slots kept when the scan ended.
    expect(bench.simulator.stats.calls[list]).toBeGreaterThan(12 - 4);
    expect(bench.simulator.stats.calls[list]).toBeLessThan(12 + 8);

    const goOn = async () => {
      await monthEnds(stateOf(ours(own.db)));
      return bench.scan().catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'read_allowance_used' });
        return undefined;
      });
    };
    let months = 1;
    let report = await goOn();
    for (; !report && months < 30; months += 1) report = await goOn();

    expect(months).toBeGreaterThan(1);
    // Once more a month at most the page that was on its way in each window.
    expect(bench.simulator.stats.calls[list]).toBeLessThanOrEqual(30 + months * 10);
    expect(report).toMatchObject({ isResumed: true });
    expect(report!.result.created + report!.result.unchanged).toBe(3_000);
    expect(await bench.differences()).toEqual([]);
  });
});
