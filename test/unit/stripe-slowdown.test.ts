// How this process slows down when Stripe refuses a call, by the reason, and tells the others.
import { beforeEach, describe, expect, test } from 'vitest';
import type { RateLimitReason } from '../../src/rate/limits.js';
import type { Budget } from '../../src/rate/budget.js';
import { limiter, list, openTasks, slotsDue, turn } from '../support/rate-limiter.js';
import { freeBudget, recordingLogger } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

describe('a refusal by Stripe', () => {
  const slowed: unknown[] = [];
  const budget: Budget = { ...freeBudget, slowDown: async (slowdown) => void slowed.push(slowdown) };
  const limits = { callsPerSecond: 1_000, callsPerSecondPerEndpoint: 0, maxInFlight: 8 };

  beforeEach(() => {
    slowed.length = 0;
  });

  test.each<[RateLimitReason, number, unknown[]]>([
    ['global-rate', 0, [{ cut: true, blockMs: 0 }]],
    ['global-rate', 2_000, [{ cut: true, blockMs: 2_000 }]],
    ['endpoint-rate', 0, [{ endpoint: list, cut: true, blockMs: 0 }]],
    ['unknown', 0, [{ endpoint: list, cut: true, blockMs: 0 }]],
    ['global-concurrency', 0, [{ cut: false, fewerInFlight: true, blockMs: 0 }]],
    ['global-concurrency', 2_000, [{ cut: false, fewerInFlight: true, blockMs: 2_000 }]],
    ['endpoint-concurrency', 2_000, [{ endpoint: list, cut: false, fewerInFlight: true, blockMs: 2_000 }]],
    ['resource-specific', 2_000, []],
    ['lock-timeout', 2_000, []],
  ])('for %s with Retry-After of %i ms slows down what it names', async (reason, retryAfterMs, expected) => {
    const made = limiter({ budget, limits });

    made.refused(list, reason, retryAfterMs);
    await made.close();

    expect(slowed).toEqual(expected);
  });

  test('for concurrency halves the places of this process, not below one', async () => {
    const made = limiter({ budget, limits });
    const small = openTasks();
    made.refused(list, 'endpoint-concurrency');
    made.refused(list, 'endpoint-concurrency');

    const all = Array.from({ length: 10 }, () => made.schedule(turn('small'), small.task));
    await until(() => small.running.length === 4, { what: 'half of the places to fill' });
    await new Promise(setImmediate);

    expect(small.running).toHaveLength(4);
    small.endAll();
    await Promise.all(all);
  });

  test('for concurrency that another replica met lowers the places of this process too', async () => {
    const made = limiter({
      budget: { ...budget, take: async (wants) => ({ ...slotsDue(wants, 0), inFlightShare: 0.5 }) },
      limits,
    });
    const small = openTasks();

    await made.schedule(turn('small'), async () => {});
    const all = Array.from({ length: 10 }, () => made.schedule(turn('small'), small.task));
    await until(() => small.running.length === 4, { what: 'half of the places to fill' });
    await new Promise(setImmediate);

    expect(small.running).toHaveLength(4);
    small.endAll();
    await Promise.all(all);
  });

  test('with Retry-After is obeyed where nothing limits the rate, too', async () => {
    const made = limiter();
    await made.schedule(turn('small'), async () => {});
    const refusedAt = performance.now();

    made.refused(list, 'global-rate', 400);
    const letGoAt = await made.schedule(turn('small'), async () => performance.now());

    expect(letGoAt - refusedAt).toBeGreaterThanOrEqual(400);
  });

  test('that cannot be told to the others is no fault of the call', async () => {
    const { logger, lines } = recordingLogger();
    const made = limiter({
      logger,
      budget: { ...budget, slowDown: () => Promise.reject(new Error('connection lost')) },
      limits,
    });

    made.refused(list, 'global-rate');
    await made.close();

    expect(lines).toEqual([expect.stringContaining('The rate of calls could not be reduced')]);
  });
});
