// How much of the rate the limiter gets out of it, on a clock that the test turns: what it shows does not depend on the machine.
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RateLimiter } from '../../src/rate/rate-limiter.js';
import type { Budget } from '../../src/rate/budget.js';
import { memoryBudget, mostPerSecond } from '../support/slot-model.js';
import { localClock } from '../support/stripe-gateway.js';

const seconds = 20;
const list = 'GET /v1/customers';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
});
afterEach(() => {
  vi.useRealTimers();
});

// eslint-disable-next-line no-restricted-syntax -- on the clock that the test turns
const passing = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** Numbers from 0 to 1 that are the same each time. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

/**
 * A budget in memory that is asked over a network: the question takes its time, and so does the answer. Of a hundred answers so many are
 * held up on their way back, as by a process that is busy.
 */
function remoteSlots(
  random: () => number,
  { heldUp }: { heldUp: number },
): Budget & Pick<ReturnType<typeof memoryBudget>, 'granted'> {
  const budget = memoryBudget();
  return {
    ...budget,
    take: async (...asked) => {
      await passing(1 + random() * 4);
      const answer = await budget.take(...asked);
      await passing(1 + random() * 4 + (random() * 100 < heldUp ? 70 : 0));
      return answer;
    },
  };
}

test.each([
  [25, 1, 0],
  [25, 4, 0],
  [100, 1, 0],
  [100, 4, 0],
  [100, 1, 10],
])(
  'at %i calls a second %i processes, with %i in 100 answers held up, get at least 98 in 100 of it, and no second holds more',
  async (rate, processes, heldUp) => {
    const random = randomOf(rate * 10 + processes);
    const budget = remoteSlots(random, { heldUp });
    const limits = { callsPerSecond: rate, callsPerSecondPerEndpoint: rate, maxInFlight: 256 / processes };
    const limiters = Array.from(
      { length: processes },
      () =>
        new RateLimiter({
          limits,
          budget,
          clock: localClock,
          observer: { slotWaited: () => {} },
          logger: pino({ level: 'silent' }),
          random,
        }),
    );
    const wentAt: number[] = [];
    let isOver = false;
    const callers = limiters.flatMap((limiter) =>
      Array.from({ length: Math.ceil((rate * 0.6) / processes) }, async () => {
        const { signal } = new AbortController();
        while (!isOver) {
          const turn = {
            endpoint: list,
            priority: 'scan',
            signal,
            deadlineAt: performance.now() + 60_000,
          } as const;
          await limiter.schedule(turn, async () => {
            wentAt.push(Date.now());
            await passing(100 + random() * 400);
          });
        }
      }),
    );
    const startedAt = Date.now();

    await vi.advanceTimersByTimeAsync((seconds + 2) * 1_000);
    isOver = true;
    await vi.advanceTimersByTimeAsync(5_000);
    await Promise.all(callers);

    // The first call of a process goes alone: the rate is used from then on.
    const counted = wentAt.filter((at) => at >= startedAt + 2_000 && at < startedAt + (seconds + 2) * 1_000);
    expect(counted.length).toBeGreaterThanOrEqual(0.98 * rate * seconds);
    // A slot may be used up to 50 ms late.
    expect(mostPerSecond(wentAt)).toBeLessThanOrEqual(rate * 1.05 + 1);
    expect(mostPerSecond(budget.granted.map(({ at }) => at))).toBeLessThanOrEqual(rate);
    await Promise.all(limiters.map((limiter) => limiter.close()));
  },
);
