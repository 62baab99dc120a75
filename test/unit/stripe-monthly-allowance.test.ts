// What becomes of calls when the allowance of the month is used up.
import { beforeEach, describe, expect, test } from 'vitest';
import type { Budget } from '../../src/rate/budget.js';
import { limiter, slotsDue, turn } from '../support/rate-limiter.js';
import { freeBudget, recordingLogger, unrestricted } from '../support/stripe-gateway.js';

describe('an allowance of calls a month that is used up', () => {
  const allowance = 10;
  let calls = allowance;
  const endsInMs = 500_000;
  /** As MongoDB answers: nothing for scans once it is used up. */
  const take: Budget['take'] = async (wants, _, reads) => {
    const now = Date.now();
    const { allowance: most = 0, scansFrom = 0 } = reads ?? {};
    return {
      ...unrestricted,
      now,
      callsPerSecond: 0,
      month: { calls, endsAt: now + endsInMs },
      slots: wants.map((_want, index) =>
        calls >= most && index >= scansFrom
          ? { kind: 'later', at: now, askAt: now }
          : { kind: 'granted', at: now },
      ),
    };
  };

  beforeEach(() => {
    calls = allowance;
  });

  test('refuses scans, with the time until the month ends, and lets small calls go', async () => {
    const made = limiter({ budget: { ...freeBudget, take }, monthlyReadAllowance: allowance });

    const scans = [1, 2, 3].map(() => made.schedule(turn('scan'), async () => 'went'));
    const small = await made.schedule(turn('small'), async () => 'went');

    expect(small).toBe('went');
    for (const scan of scans) {
      const fault: unknown = await scan.catch((error: unknown) => error);
      expect(fault).toMatchObject({ code: 'read_allowance_used', kind: 'retryable' });
      const { retryAfterMs } = fault as { retryAfterMs: number };
      expect(retryAfterMs).toBeGreaterThan(endsInMs - 1_000);
      expect(retryAfterMs).toBeLessThanOrEqual(endsInMs + 1_000);
    }
  });

  test('is asked for again by the next scan, as it may have been raised elsewhere', async () => {
    const made = limiter({ budget: { ...freeBudget, take }, monthlyReadAllowance: allowance });
    await expect(made.schedule(turn('scan'), async () => {})).rejects.toMatchObject({
      code: 'read_allowance_used',
    });

    calls = 0;

    expect(await made.schedule(turn('scan'), async () => 'went')).toBe('went');
  });

  test.each([
    ['nearly_used', "80 % of the month's calls to Stripe are used"],
    ['used_up', "The month's calls to Stripe are used up; scans are held"],
  ] as const)('is told in one line: %s', async (news, message) => {
    const { logger, lines } = recordingLogger();
    const made = limiter({
      logger,
      budget: {
        ...freeBudget,
        take: async (wants) => ({ ...slotsDue(wants, 0), month: { calls, endsAt: Date.now(), news } }),
      },
      monthlyReadAllowance: allowance,
    });

    await made.schedule(turn('small'), async () => {});

    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { level: 40, msg: message, callsThisMonth: 10, monthlyReadAllowance: 10 },
    ]);
  });

  test('is nothing to ask for where there is none: calls are counted together, at the latest at the end', async () => {
    const counted: number[] = [];
    const made = limiter({
      budget: {
        ...freeBudget,
        take: () => Promise.reject(new Error('not to be asked')),
        count: async (count) => void counted.push(count),
      },
    });

    await Promise.all(Array.from({ length: 30 }, () => made.schedule(turn('scan'), async () => {})));
    await made.close();

    expect(counted.reduce((sum, count) => sum + count, 0)).toBe(30);
    expect(counted.length).toBeLessThan(5);
  });
});
