// What becomes of a request after its run, and when it is tried again.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault, type FaultCode, type FaultKind } from '../../src/base/errors.js';
import { judge, retryDelayMs, type AttemptFacts } from '../../src/requests/verdict.js';
import { type SyncResult, Tally, withResult } from '../../src/sync/outcome.js';
import type { StripeId } from '../../src/sync/ports.js';

const fault = (code: FaultCode, kind: FaultKind, retryAfterMs?: number): Fault =>
  new Fault(code, `About ${code}`, { kind, ...(retryAfterMs !== undefined && { retryAfterMs }) });

const facts = (some: Partial<AttemptFacts>): AttemptFacts => ({
  command: { command: 'syncAll', object: 'customer' },
  outcome: { result: new Tally().result() },
  abortedBy: undefined,
  attempt: 1,
  maxAttempts: 3,
  backoff: { baseMs: 100, maxMs: 1_000 },
  random: () => 0.5,
  ...some,
});
const thrown = (error: unknown, some: Partial<AttemptFacts> = {}) =>
  judge(facts({ outcome: { error }, ...some }));
const partial: SyncResult = { ...new Tally().result(), created: 3 };

describe('back-off', () => {
  test('doubles its ceiling up to the longest wait', () => {
    const backoff = { baseMs: 100, maxMs: 1_000 };

    const waits = [1, 2, 3, 4, 5, 60].map((attempt) => retryDelayMs(attempt, backoff, () => 1));

    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000]);
  });

  test('has full jitter, and is never sooner than it is told', () => {
    const inputs = fc.record({
      attempt: fc.integer({ min: 1, max: 200 }),
      baseMs: fc.integer({ min: 1, max: 3_600_000 }),
      maxMs: fc.integer({ min: 1, max: 86_400_000 }),
      chance: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      toldMs: fc.option(fc.double({ min: -1e9, max: 1e12 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(inputs, ({ attempt, baseMs, maxMs, chance, toldMs }) => {
        const wait = retryDelayMs(attempt, { baseMs, maxMs }, () => chance, toldMs);

        const told = toldMs !== undefined && Number.isFinite(toldMs) ? Math.max(0, toldMs) : 0;
        expect(wait).toBeGreaterThanOrEqual(Math.min(Math.floor(told), 86_400_000));
        expect(wait).toBeLessThanOrEqual(Math.min(Math.ceil(told) + maxMs, 86_400_000));
      }),
    );
    expect(retryDelayMs(3, { baseMs: 100, maxMs: 1_000 }, () => 0)).toBe(0);
  });
});

describe('a run', () => {
  test('that passes is tried again, as often as it may be', () => {
    const error = fault('stripe_unavailable', 'retryable');

    expect(thrown(error)).toMatchObject({
      kind: 'retry',
      delayMs: 50,
      error: { code: 'stripe_unavailable' },
    });
    expect(thrown(error, { attempt: 3 })).toMatchObject({
      kind: 'finish',
      ending: {
        status: 'failed',
        error: { code: 'attempts_exhausted', cause: { code: 'stripe_unavailable' } },
      },
    });
  });

  test('that is told when to come back comes back no sooner', () => {
    expect(thrown(fault('stripe_rate_limited', 'retryable', 7_000))).toMatchObject({ delayMs: 7_050 });
  });

  test('that throws what nobody classified is tried again, and tells its type alone', () => {
    expect(thrown(new TypeError('jane@example.com'))).toMatchObject({
      kind: 'retry',
      error: { code: 'internal', message: 'Unexpected TypeError' },
    });
    expect(thrown('jane@example.com')).toMatchObject({ error: { message: 'Unexpected string' } });
  });

  test('that cannot succeed fails with what was done', () => {
    expect(thrown(withResult(fault('stripe_rejected', 'terminal'), partial))).toMatchObject({
      kind: 'finish',
      ending: { status: 'failed', result: partial, error: { code: 'stripe_rejected' } },
    });
  });

  test('that is fatal waits, and is told upward', () => {
    const error = fault('stripe_key_refused', 'fatal');

    expect(thrown(error)).toMatchObject({ kind: 'release', fatal: error, delayMs: 1_000 });
  });

  test('that was cancelled ends so, whatever it threw after the abort', () => {
    const abortedBy = fault('cancelled', 'terminal');

    const verdict = { kind: 'finish', ending: { status: 'cancelled', result: partial } };
    expect(thrown(withResult(abortedBy, partial), { abortedBy })).toMatchObject(verdict);
    expect(thrown(withResult(new Error('socket hang up'), partial), { abortedBy })).toMatchObject(verdict);
  });

  test('that was stopped with its process waits, its attempt given back', () => {
    const abortedBy = fault('shutdown', 'retryable');

    expect(thrown(abortedBy, { abortedBy, attempt: 3 })).toMatchObject({
      kind: 'release',
      delayMs: 0,
      fatal: undefined,
    });
  });

  test('that had ended in spite of the abort counts as it ended, unless its lease was lost', () => {
    expect(judge(facts({ abortedBy: fault('cancelled', 'terminal') }))).toMatchObject({
      kind: 'finish',
      ending: { status: 'succeeded' },
    });
    expect(judge(facts({ abortedBy: fault('lease_lost', 'retryable') }))).toEqual({ kind: 'lost' });
    expect(thrown(fault('lease_lost', 'retryable'))).toEqual({ kind: 'lost' });
  });

  test('whose every item failed says why in its error', () => {
    const tally = new Tally();
    tally.add({ id: 'cus_1', outcome: 'failed', code: 'not_in_account', message: 'Not in the account' });

    expect(judge(facts({ outcome: { result: tally.result() } }))).toMatchObject({
      ending: { status: 'failed', error: { code: 'not_in_account', message: 'cus_1: Not in the account' } },
    });
    tally.add({ id: 'cus_2', outcome: 'failed', code: 'wrong_mode' });
    expect(judge(facts({ outcome: { result: tally.result() } }))).toMatchObject({
      ending: { error: { message: expect.stringContaining('not_in_account, wrong_mode') as unknown } },
    });
  });

  test('of a batch that succeeded leaves ids in place of bodies, one that did not leaves them', () => {
    const batch = [{ id: 'cus_1' as StripeId, name: 'Jane' }, { id: 'cus_1' as StripeId }];
    const command = { command: 'syncBatch', object: 'customer', batch, observedAt: undefined } as const;

    expect(judge(facts({ command }))).toMatchObject({ ending: { batch: ['cus_1'] } });
    const result = { ...partial, failed: 1 };
    expect(judge(facts({ command, outcome: { result } }))).not.toHaveProperty('ending.batch');
  });
});
