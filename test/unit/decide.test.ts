import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/sync/decide.js';
import type { Head, StripeId } from '../../src/sync/ports.js';

const at = (ms: number): Date => new Date(ms);
const head = (over: Partial<Head> = {}): Head => ({
  id: 'cus_1' as StripeId,
  created: 1,
  hash: 'stored',
  observed: { from: at(100), to: at(200) },
  deletedBy: undefined,
  ...over,
});
const read = (from: number, to: number, hash: string | undefined = 'read') => ({
  hash,
  observed: { from: at(from), to: at(to) },
});

describe('the order of reads', () => {
  it('takes an object that the mirror does not have', () => {
    expect(decide(undefined, read(0, 1))).toBe('insert');
  });

  it.each([
    ['let go when the stored one was answered', 200, 300, 'replace'],
    ['let go after it', 201, 300, 'replace'],
    ['answered when the stored one was let go', 50, 100, 'stale'],
    ['answered before it', 10, 20, 'stale'],
    ['overlapping at its end', 150, 250, 'overlap'],
    ['overlapping at its start', 50, 101, 'overlap'],
    ['within it', 120, 130, 'overlap'],
    ['around it', 50, 300, 'overlap'],
  ])('decides on a different state %s', (_, from, to, decision) => {
    expect(decide(head(), read(from, to))).toBe(decision);
  });

  it('finds an equal state unchanged, whenever it was read', () => {
    fc.assert(
      fc.property(fc.nat(500), fc.nat(500), (from, length) => {
        expect(decide(head(), read(from, from + length, 'stored'))).toBe('unchanged');
      }),
    );
  });

  it('refuses everything once Stripe has confirmed the deletion, an equal state too', () => {
    expect(decide(head({ deletedBy: 'stripe' }), read(900, 901))).toBe('refused');
    expect(decide(head({ deletedBy: 'stripe' }), read(900, 901, 'stored'))).toBe('refused');
  });

  it('goes on refreshing fields under a mark that a request made', () => {
    expect(decide(head({ deletedBy: 'request' }), read(900, 901))).toBe('replace');
  });

  it('never finds a part equal to a whole', () => {
    expect(decide(head({ hash: undefined }), read(900, 901, undefined))).toBe('replace');
  });

  it('never replaces a state by one that Stripe may have computed before it', () => {
    const interval = fc
      .tuple(fc.nat(400), fc.nat(200))
      .map(([from, length]) => ({ from, to: from + length }));
    fc.assert(
      fc.property(
        interval,
        interval,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (stored, later, a, b) => {
          const storedAnsweredAt = stored.from + a * (stored.to - stored.from);
          const readAnsweredAt = later.from + b * (later.to - later.from);

          const decision = decide(
            head({ observed: { from: at(stored.from), to: at(stored.to) } }),
            read(later.from, later.to),
          );

          if (decision === 'replace') expect(readAnsweredAt).toBeGreaterThanOrEqual(storedAnsweredAt);
          if (decision === 'stale') expect(readAnsweredAt).toBeLessThanOrEqual(storedAnsweredAt);
        },
      ),
    );
  });
});
