// This process's side of the limiter: who goes first, and what happens without slots.
import { describe, expect, test, vi } from 'vitest';
import type { Budget } from '../../src/rate/budget.js';
import { atEnd } from '../support/cleanup.js';
import { limiter, openTasks, retrieve, slotsDue, turn, unlimited } from '../support/rate-limiter.js';
import { memoryBudget, mostPerSecond } from '../support/slot-model.js';
import { freeBudget, recordingLogger, unrestricted } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

describe('slots', () => {
  test('let nobody go before their time', async () => {
    const budget = memoryBudget();
    const made = limiter({
      budget,
      limits: { callsPerSecond: 100, callsPerSecondPerEndpoint: 0, maxInFlight: 30 },
    });
    const goneAt: number[] = [];

    await Promise.all(
      Array.from({ length: 60 }, () => made.schedule(turn('scan'), async () => void goneAt.push(Date.now()))),
    );

    const dueAt = budget.granted.map(({ at }) => at).sort((a, b) => a - b);
    goneAt.forEach((time, index) => expect(time).toBeGreaterThanOrEqual(Math.floor(dueAt[index]!) - 1));
    expect(mostPerSecond(dueAt)).toBeLessThanOrEqual(100);
  });

  test('that passed while the process was busy are not used, once: late calls would go all at once', async () => {
    let asks = 0;
    const take: Budget['take'] = async (wants) => {
      asks += 1;
      return slotsDue(wants, 20);
    };
    const made = limiter({ budget: { ...freeBudget, take }, limits: { ...unlimited, callsPerSecond: 50 } });

    await made.schedule(turn('small'), async () => {});
    const call = made.schedule(turn('small'), async () => performance.now());
    await until(() => asks === 2, { what: 'the slot', intervalMs: 1 });
    const busyUntil = performance.now() + 150;
    while (performance.now() < busyUntil); // nothing else runs meanwhile

    expect(await call).toBeGreaterThan(busyUntil);
    expect(asks).toBe(3);
  });

  test('in an answer that comes late are used when they are due', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
    atEnd(() => void vi.useRealTimers());
    let answer = (): void => {};
    let asks = 0;
    const take: Budget['take'] = async (wants) => {
      asks += 1;
      const slots = slotsDue(wants, 90);
      await new Promise<void>((resolve) => (answer = resolve));
      return slots;
    };
    const made = limiter({ budget: { ...freeBudget, take }, limits: { ...unlimited, callsPerSecond: 50 } });
    const call = async (answerAfterMs: number): Promise<number> => {
      const from = performance.now();
      const gone = made.schedule(turn('small'), async () => performance.now() - from);
      await vi.advanceTimersByTimeAsync(answerAfterMs);
      answer();
      await vi.advanceTimersByTimeAsync(500);
      return gone;
    };

    await call(1);
    const goneAfter = await call(70);

    expect(goneAfter).toBeGreaterThanOrEqual(90);
    expect(goneAfter).toBeLessThanOrEqual(92);
    expect(asks).toBe(2);
  });

  test('are taken by small calls before scans that waited longer', async () => {
    const made = limiter({
      budget: memoryBudget(),
      limits: { callsPerSecond: 25, callsPerSecondPerEndpoint: 0, maxInFlight: 30 },
    });
    const order: string[] = [];
    const scans = Array.from({ length: 20 }, () =>
      made.schedule(turn('scan'), async () => void order.push('scan')),
    );
    await until(() => order.length >= 4, { what: 'some scans', intervalMs: 5 });

    const before = order.length;
    await made.schedule(turn('small', { endpoint: retrieve }), async () => void order.push('small'));

    // What was granted before the small call came, within 100 ms, may go before it.
    expect(order.indexOf('small') - before).toBeLessThanOrEqual(4);
    await Promise.all(scans);
  });

  test('are only asked for by calls that have a place', async () => {
    const asked: number[] = [];
    const budget: Budget = {
      ...freeBudget,
      take: (wants, rates, reads) => {
        asked.push(wants.length);
        return freeBudget.take(wants, rates, reads);
      },
    };
    const made = limiter({
      budget,
      limits: { callsPerSecond: 1_000, callsPerSecondPerEndpoint: 0, maxInFlight: 5 },
    });
    const scans = openTasks();

    const all = Array.from({ length: 20 }, () => made.schedule(turn('scan'), scans.task));
    await until(() => scans.running.length === 3, { what: 'the scans to start' });

    expect(asked.reduce((sum, wants) => sum + wants, 0)).toBe(3);
    scans.endAll();
    await Promise.all(all);
  });

  test('are not asked for without a limit; the clock alone dates the calls', async () => {
    const take = () => Promise.reject(new Error('not to be asked'));
    const made = limiter({ budget: { ...freeBudget, take } });
    const before = Date.now();

    const reading = await made.schedule(turn('small'), async (given) => given);

    expect(reading.earliest).toBeGreaterThanOrEqual(before);
    expect(made.callsPerSecond).toBeUndefined();
  });

  test('that cannot be had while MongoDB is away are waited for, and that is said once', async () => {
    let isAway = true;
    let asks = 0;
    const take: Budget['take'] = (wants, rates, reads) => {
      asks += 1;
      return isAway ? Promise.reject(new Error('connection lost')) : freeBudget.take(wants, rates, reads);
    };
    const { logger, lines } = recordingLogger();
    const made = limiter({
      logger,
      budget: { ...freeBudget, take },
      limits: { ...unlimited, callsPerSecond: 10 },
    });

    const call = made.schedule(turn('small'), async () => 'answered');
    await until(() => asks >= 3, { what: 'some asks' });
    expect(asks).toBeLessThan(6);
    isAway = false;

    expect(await call).toBe('answered');
    expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      'MongoDB does not answer; calls to Stripe are paused',
      'MongoDB answers again; calls to Stripe continue',
    ]);
  });

  test.each<[string, Budget['take'], string]>([
    ['MongoDB is away', () => Promise.reject(new Error('connection lost')), 'mongodb_unavailable'],
    ['MongoDB does not answer', () => new Promise(() => {}), 'mongodb_unavailable'],
    ['others take them all', async (wants) => laterSlots(wants), 'stripe_rate_limited'],
  ])('that %s for end the wait at its deadline', async (_why, take, code) => {
    const made = limiter({ budget: { ...freeBudget, take }, limits: { ...unlimited, callsPerSecond: 10 } });

    await expect(made.schedule(turn('small', { waitMs: 1_100 }), async () => {})).rejects.toMatchObject({
      code,
      kind: 'retryable',
    });
  });

  test('are waited for no longer once it is closed', async () => {
    const made = limiter({
      budget: { ...freeBudget, take: () => new Promise(() => {}) },
      limits: { ...unlimited, callsPerSecond: 1 },
    });
    const call = made.schedule(turn('small'), async () => {});

    await Promise.all([
      expect(call).rejects.toMatchObject({ code: 'shutdown', kind: 'retryable' }),
      made.close(),
    ]);
    await expect(made.schedule(turn('small'), async () => {})).rejects.toMatchObject({ code: 'shutdown' });
  });
});

function laterSlots(wants: readonly string[]) {
  const now = Date.now();
  return {
    ...unrestricted,
    now,
    callsPerSecond: 10,
    slots: wants.map(() => ({ kind: 'later', at: now + 150, askAt: now + 50 }) as const),
  };
}
