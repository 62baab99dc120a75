import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compare, type Order, type Telling, toldOf } from '../../src/sync/telling.js';

const at = (ms: number): Date => new Date(ms);
const during = (from: number, to: number, rest: Partial<Telling> = {}): Telling => ({
  from: at(from),
  to: at(to),
  ...rest,
});
const moment = (ms: number, position?: string, isDated?: true): Telling =>
  during(ms, ms + 1, { position, isDated });

describe('which of two tellings came later', () => {
  it.each<[string, Telling, Telling, Order]>([
    ['begins as the other ends', during(20, 30), during(10, 20), 'later'],
    ['ends as the other begins', during(10, 20), during(20, 30), 'earlier'],
    ['overlaps', during(10, 21), during(20, 30), 'unknown'],
    ['has an equal time', during(10, 20), during(10, 20), 'unknown'],
    ['is of the same millisecond', moment(10), moment(10), 'unknown'],
    ['is of the next millisecond', moment(11), moment(10), 'later'],
    ['is a moment as an earlier version stored it', moment(10), during(10, 10), 'unknown'],
    ['stands later in the stream', moment(10, 'stream:b'), moment(10, 'stream:a'), 'later'],
    ['stands later, though a clock says otherwise', moment(5, 'stream:b'), moment(10, 'stream:a'), 'later'],
    ['stands earlier in the stream', moment(10, 'stream:a'), moment(10, 'stream:b'), 'earlier'],
    ['is the very same', moment(10, 'stream:a'), moment(10, 'stream:a'), 'same'],
    ['stands in another order', moment(10, 'stream:b'), moment(10, 'id1:a'), 'unknown'],
    ['stands in another order, later', moment(12, 'stream:b'), moment(10, 'id1:a'), 'later'],
    ['is dated earlier', moment(5, 'stream:b', true), moment(10, 'stream:a'), 'earlier'],
    ['is dated later', moment(20, 'stream:a', true), moment(10, 'stream:b', true), 'later'],
    ['has an equal date', moment(10, 'stream:b', true), moment(10, 'stream:a', true), 'later'],
  ])('of one that %s', (_, a, b, order) => {
    expect(compare(a, b)).toBe(order);
  });

  it('does not believe a time ahead of the clock', () => {
    const ahead = { ...during(900, 910), isAhead: true };

    expect(compare(during(10, 20), ahead)).toBe('unknown');
    expect(compare(ahead, during(10, 20))).toBe('unknown');
    expect(compare(moment(10, 'stream:b'), { ...moment(900, 'stream:a'), isAhead: true })).toBe('later');
  });

  const anyTelling = fc
    .record({
      from: fc.nat(6),
      length: fc.integer({ min: 1, max: 4 }),
      place: fc.option(fc.nat(5), { nil: undefined }),
      isDated: fc.boolean(),
    })
    .map(({ from, length, place, isDated }) =>
      during(from, from + length, {
        ...(place !== undefined && { position: `stream:${place}`, isDated }),
      }),
    );

  it('says the opposite when asked the other way round', () => {
    const opposite: Record<Order, Order> = {
      later: 'earlier',
      earlier: 'later',
      same: 'same',
      unknown: 'unknown',
    };
    fc.assert(
      fc.property(anyTelling, anyTelling, (a, b) => {
        expect(compare(b, a)).toBe(opposite[compare(a, b)]);
      }),
    );
  });

  it('never takes equal times for an order', () => {
    fc.assert(
      fc.property(anyTelling, (a) => {
        expect(compare({ ...a, position: undefined }, a)).toBe('unknown');
      }),
    );
  });
});

describe('when a batch was told', () => {
  const known = { kind: 'known', insertion: { token: '8201', at: at(1_000) } } as const;

  it('is when it was inserted, in the millisecond that MongoDB says', () => {
    expect(toldOf(known, undefined)).toEqual(moment(1_000, 'stream:8201'));
  });

  it('is when its caller says, if that is earlier', () => {
    expect(toldOf(known, at(400))).toEqual(moment(400, 'stream:8201', true));
  });

  it.each([1_000, 5_000])('is never after its insertion: %d', (observedAt) => {
    expect(toldOf(known, at(observedAt))).toEqual(moment(1_000, 'stream:8201'));
  });

  it('is an interval where nothing better is known', () => {
    const within = { kind: 'within', from: at(1_000), to: at(1_999), position: 'a:1' } as const;

    expect(toldOf(within, undefined)).toEqual(during(1_000, 2_000, { position: 'a:1' }));
    expect(toldOf(within, at(1_500))).toEqual(moment(1_500, 'a:1', true));
  });
});
