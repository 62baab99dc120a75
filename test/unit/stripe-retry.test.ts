// The retry loop alone, on a clock of its own.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { limitsFor } from '../../src/rate/limits.js';
import { backoffMs } from '../../src/base/waiting.js';
import { callBackoff, withRetries } from '../../src/stripe/caller.js';
import { judge, retryAfterMs, type Verdict } from '../../src/stripe/classify.js';

const passing = (retryAfter?: number): Verdict => ({
  outcome: 'server_error',
  isRetried: true,
  fault: new Fault('stripe_unavailable', 'Stripe failed with status 503', {
    kind: 'retryable',
    ...(retryAfter !== undefined && { retryAfterMs: retryAfter }),
  }),
});

interface LoopOptions {
  deadlineAt?: number;
  random?: () => number;
}

function loopOn(verdicts: Verdict[], { deadlineAt = Infinity, random = () => 1 }: LoopOptions = {}) {
  let now = 0;
  const waits: number[] = [];
  const result = withRetries(
    async () => {
      const verdict = verdicts.shift();
      return verdict ? { kind: 'failed', verdict } : { kind: 'done', value: 'page', outcome: 'succeeded' };
    },
    {
      deadlineAt,
      now: () => now,
      random,
      sleep: async (ms) => {
        waits.push(ms);
        now += ms;
      },
      onRetry: () => {},
    },
  );
  return { result, waits };
}

describe('the retry loop', () => {
  test('doubles its bound up to a most', async () => {
    const { result, waits } = loopOn(Array.from({ length: 8 }, () => passing()));

    expect(await result).toBe('page');
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
  });

  test('spreads its waits over the whole of the bound', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (retry, share) => {
          const wait = backoffMs(callBackoff, retry, () => share);
          expect(wait).toBeGreaterThanOrEqual(0);
          expect(wait).toBeLessThanOrEqual(callBackoff.maxMs);
          expect(wait).toBeCloseTo(share * backoffMs(callBackoff, retry, () => 1), 6);
        },
      ),
    );
  });

  test('never comes back sooner than Stripe asked', async () => {
    const { result, waits } = loopOn([passing(7_000), passing()], { random: () => 0 });

    await result;
    expect(waits).toEqual([7_000, 0]);
  });

  test('gives up with the last fault when the next attempt would come after the deadline', async () => {
    const last = passing();
    const { result, waits } = loopOn([passing(), passing(), last, passing()], { deadlineAt: 3_000 });

    await expect(result).rejects.toBe(last.fault);
    expect(waits).toEqual([500, 1_000]);
  });

  test('does not repeat what is final', async () => {
    const final: Verdict = { ...passing(), isRetried: false };
    const { result, waits } = loopOn([final]);

    await expect(result).rejects.toBe(final.fault);
    expect(waits).toEqual([]);
  });
});

test.each([
  ['3', 3_000],
  ['0', 0],
  ['Tue, 24 Nov 2026 02:00:10 GMT', 10_000],
  ['Tue, 24 Nov 2026 01:00:00 GMT', 0],
  ['soon', undefined],
  ['-1', undefined],
  [undefined, undefined],
])('Retry-After %s is %s ms', (header, ms) => {
  const now = Date.UTC(2026, 10, 24, 2, 0, 0);

  expect(retryAfterMs(header, now)).toBe(ms);
});

test('a fault tells codes and ids of a refusal, and of its own words only', () => {
  const { fault } = judge(
    {
      kind: 'refused',
      status: 402,
      type: 'StripeCardError',
      code: 'card_declined',
      param: undefined,
      requestId: 'req_1',
      shouldRetry: undefined,
      retryAfterMs: undefined,
      rateLimitReason: undefined,
    },
    'GET /v1/customers',
  );

  expect(fault).toMatchObject({
    code: 'stripe_rejected',
    kind: 'terminal',
    message: 'Stripe rejected GET /v1/customers with status 402 (card_declined)',
    requestId: 'req_1',
    statusCode: 402,
    stripeCode: 'card_declined',
    cause: { name: 'StripeCardError' },
  });
});

test('auto stays below what Stripe allows in either mode, and a number is taken as it is', () => {
  const auto = { callsPerSecond: 'auto', callsPerSecondPerEndpoint: 'auto', maxInFlight: 'auto' } as const;

  expect(limitsFor(auto, true)).toEqual({
    callsPerSecond: 20,
    callsPerSecondPerEndpoint: 10,
    maxInFlight: 8,
  });
  expect(limitsFor(auto, false)).toEqual({
    callsPerSecond: 10,
    callsPerSecondPerEndpoint: 5,
    maxInFlight: 4,
  });
  expect(limitsFor({ ...auto, callsPerSecond: 0, maxInFlight: 64 }, true)).toEqual({
    callsPerSecond: 0,
    callsPerSecondPerEndpoint: 10,
    maxInFlight: 64,
  });
});
