import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideBatch, decidePart, decideRead, type PartDecision } from '../../src/sync/decide.js';
import type { Head, Stored, StripeId, StripeObject } from '../../src/sync/ports.js';
import type { Telling, ToldFields } from '../../src/sync/telling.js';

const at = (ms: number): Date => new Date(ms);
const during = (from: number, to: number, position?: string): Telling => ({
  from: at(from),
  to: at(to),
  position,
});
const placed = (place: number): Telling =>
  during(place, place + 1, `stream:${String(place).padStart(6, '0')}`);
const head = (over: Partial<Head> = {}): Head => ({
  id: 'cus_1' as StripeId,
  created: 1,
  hash: 'stored',
  observed: during(100, 200),
  deletedBy: undefined,
  writeId: 'w',
  writtenAt: at(200),
  told: [],
  ...over,
});
const read = (from: number, to: number, hash = 'read') => ({ hash, observed: during(from, to) });
const told = (place: number, ...fields: string[]): ToldFields => ({ fields, telling: placed(place) });

const write = (outcome: string, kept: readonly ToldFields[] = []) => ({ kind: 'write', outcome, kept });

describe('the order of reads', () => {
  it('takes an object that the mirror does not have', () => {
    expect(decideRead(undefined, read(0, 1))).toEqual(write('created'));
  });

  it.each([
    ['let go when the stored one was answered', 200, 300, write('updated')],
    ['let go after it', 201, 300, write('updated')],
    ['answered when the stored one was let go', 50, 100, { kind: 'stale', code: 'older_than_read' }],
    ['answered before it', 10, 20, { kind: 'stale', code: 'older_than_read' }],
    ['overlapping at its end', 150, 250, { kind: 'overlap' }],
    ['overlapping at its start', 50, 101, { kind: 'overlap' }],
    ['within it', 120, 130, { kind: 'overlap' }],
    ['around it', 50, 300, { kind: 'overlap' }],
  ])('decides on a different state %s', (_, from, to, decision) => {
    expect(decideRead(head(), read(from, to))).toEqual(decision);
  });

  it('finds an equal state unchanged, whenever it was read', () => {
    fc.assert(
      fc.property(fc.nat(500), fc.nat(500), (from, length) => {
        expect(decideRead(head(), read(from, from + length, 'stored'))).toEqual({ kind: 'unchanged' });
      }),
    );
  });

  it('refuses everything once Stripe has confirmed the deletion, an equal state too', () => {
    const refused = { kind: 'stale', code: 'deleted_in_stripe' };
    const deleted = head({ deletedBy: 'stripe' });

    expect(decideRead(deleted, read(900, 901))).toEqual(refused);
    expect(decideRead(deleted, read(900, 901, 'stored'))).toEqual(refused);
    expect(decideRead(deleted, read(900, 901), true)).toEqual(refused);
    expect(decideBatch(deleted, { hash: 'stored', observed: placed(900) })).toEqual(refused);
  });

  it('goes on refreshing fields under a mark that a request made', () => {
    expect(decideRead(head({ deletedBy: 'request' }), read(900, 901))).toEqual(write('updated'));
  });

  it('takes what was asked for after the stored state had been found, whatever the times say', () => {
    const stored = head({ told: [told(950, 'name')] });

    expect(decideRead(stored, read(10, 20), true)).toEqual(write('updated'));
  });

  it('reads again where the stored time lies ahead of the clock', () => {
    const ahead = head({ observed: { ...during(900, 910), isAhead: true } });

    expect(decideRead(ahead, read(300, 310))).toEqual({ kind: 'overlap' });
  });

  it('reads again where the clock has been set back since the read', () => {
    expect(decideRead(head({ seenAt: at(250) }), read(300, 310))).toEqual({ kind: 'overlap' });
    expect(decideRead(head({ seenAt: at(300) }), read(300, 310))).toEqual(write('updated'));
  });

  it('reads again what seems earlier, by a time that the clock has said before', () => {
    const repeated = { hash: 'read', observed: { ...during(100, 110), isRepeated: true } };
    const isPart = head({ observed: during(10, 20), told: [told(400, 'name')] });

    expect(decideRead(head({ observed: during(200, 210) }), repeated)).toEqual({ kind: 'overlap' });
    expect(decideRead(isPart, repeated)).toEqual({ kind: 'overlap' });
    // What seems later is later: the stored time was said at that time, or before it.
    expect(decideRead(head({ observed: during(10, 20) }), repeated)).toEqual(write('updated'));
  });

  it('does not take a batch for later by a time that the clock has been set back from', () => {
    const stored = head({ seenAt: at(250), told: [told(400, 'email')] });
    const part = { id: 'cus_1' as StripeId, name: 'x' };

    expect(decideBatch(stored, { hash: 'batch', observed: placed(300) })).toEqual({ kind: 'overlap' });
    expect(decidePart({ head: stored, fields: {} }, part, placed(300))).toEqual({
      kind: 'stale',
      code: 'order_unknown',
    });
    // The stream's own order counts all the same.
    const byBatch = head({ seenAt: at(250), observed: placed(200) });
    expect(decideBatch(byBatch, { hash: 'batch', observed: placed(300) })).toEqual(write('updated'));
  });

  it('keeps the fields that parts have told since, drops those told before, and reads again in between', () => {
    const since = told(400, 'name');
    const stored = head({ told: [told(250, 'email'), since] });

    expect(decideRead(stored, read(300, 310))).toEqual(write('updated', [since]));
    expect(decideRead(stored, read(500, 510))).toEqual(write('updated'));
    expect(decideRead(stored, read(300, 500))).toEqual({ kind: 'overlap' });
  });

  it('never replaces a state by one that Stripe may have computed before it', () => {
    const interval = fc
      .tuple(fc.nat(400), fc.integer({ min: 1, max: 200 }))
      .map(([from, length]) => ({ from, to: from + length }));
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(interval, interval, share, share, (stored, later, a, b) => {
        const storedAnsweredAt = stored.from + a * (stored.to - stored.from);
        const readAnsweredAt = later.from + b * (later.to - later.from);

        const { kind } = decideRead(
          head({ observed: during(stored.from, stored.to) }),
          read(later.from, later.to),
        );

        if (kind === 'write') expect(readAnsweredAt).toBeGreaterThanOrEqual(storedAnsweredAt);
        if (kind === 'stale') expect(readAnsweredAt).toBeLessThanOrEqual(storedAnsweredAt);
      }),
    );
  });
});

describe('the order of batches', () => {
  const batch = (telling: Telling, hash = 'batch') => ({ hash, observed: telling });

  it.each([
    ['inserted later', placed(11), write('updated')],
    ['inserted earlier', placed(9), { kind: 'stale', code: 'older_than_batch' }],
    ['that is the very same', placed(10), { kind: 'unchanged', isOwn: true }],
    ['of which that is not known', during(10, 11), { kind: 'overlap' }],
  ])('of one %s', (_, telling, decision) => {
    expect(decideBatch(head({ observed: placed(10) }), batch(telling))).toEqual(decision);
  });

  it('records the order of an equal one that was inserted later, and of no other', () => {
    const stored = head({ observed: placed(10) });

    expect(decideBatch(stored, batch(placed(11), 'stored'))).toEqual(write('unchanged'));
    expect(decideBatch(stored, batch(placed(9), 'stored'))).toEqual({ kind: 'unchanged' });
    expect(decideBatch(stored, batch(during(10, 11), 'stored'))).toEqual({ kind: 'unchanged' });
  });

  it('says against what it is stale', () => {
    expect(decideBatch(head(), batch(placed(50)))).toEqual({ kind: 'stale', code: 'older_than_read' });
  });

  it('is applied after a read had ended, and not known while it ran', () => {
    expect(decideBatch(head(), batch(placed(200)))).toEqual(write('updated'));
    expect(decideBatch(head(), batch(placed(199)))).toEqual({ kind: 'overlap' });
  });
});

describe('parts, field by field', () => {
  const stored = (over: Partial<Head> = {}, fields: object = { name: 'a', email: 'b' }): Stored => ({
    head: head(over),
    fields: { id: 'cus_1', ...fields },
  });
  const part = (fields: object) => ({ id: 'cus_1', ...fields }) as StripeObject;

  it('make an object that the mirror does not have', () => {
    expect(decidePart(undefined, part({ name: 'x' }), placed(5))).toEqual({
      kind: 'write',
      outcome: 'created',
      fields: part({ name: 'x' }),
      told: [told(5, 'name')],
    });
  });

  it('win over what the whole object told before, and over nothing that it told later', () => {
    expect(decidePart(stored(), part({ name: 'x' }), placed(300))).toMatchObject({
      outcome: 'updated',
      fields: { name: 'x' },
    });
    expect(decidePart(stored(), part({ name: 'x' }), placed(50))).toEqual({
      kind: 'stale',
      code: 'older_than_read',
    });
    expect(decidePart(stored(), part({ name: 'x' }), placed(150))).toEqual({
      kind: 'stale',
      code: 'order_unknown',
    });
  });

  it('win for some fields and lose for others', () => {
    const before = stored({ told: [told(400, 'name'), told(300, 'email')] });

    expect(decidePart(before, part({ name: 'x', email: 'y' }), placed(350))).toEqual({
      kind: 'write',
      outcome: 'updated',
      fields: part({ email: 'y' }),
      told: [told(400, 'name'), told(350, 'email')],
    });
  });

  it('record their order where the fields are stored already', () => {
    expect(decidePart(stored(), part({ name: 'a' }), placed(300))).toMatchObject({
      outcome: 'unchanged',
      told: [told(300, 'name')],
    });
    expect(decidePart(stored({}, {}), part({ name: null }), placed(300))).toMatchObject({
      outcome: 'updated',
    });
  });

  it('change nothing when they come again, and nothing that Stripe has confirmed deleted', () => {
    const again = stored({ told: [told(300, 'name')] });

    expect(decidePart(again, part({ name: 'x' }), placed(300))).toEqual({
      kind: 'unchanged',
      isOwn: true,
    });
    expect(decidePart(stored({ deletedBy: 'stripe' }), part({ name: 'x' }), placed(300))).toEqual({
      kind: 'stale',
      code: 'deleted_in_stripe',
    });
  });

  it('end the same in any order of application', () => {
    const fields = ['__proto__', 'a.b', '$x', 'name'];
    const values = fc.uniqueArray(fc.constantFrom(...fields), { minLength: 1 });
    const parts = fc.array(values, { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(parts, fc.infiniteStream(fc.nat()), (told, random) => {
        const all = told.map((keys, place) => {
          const entries = keys.map((key) => [key, place]);
          return { fields: part(Object.fromEntries(entries) as object), place };
        });
        const order = all
          .map((each) => ({ each, key: Number(random.next().value) }))
          .sort((a, b) => a.key - b.key);

        const inOrder = apply(all);
        const shuffled = apply(order.map(({ each }) => each));

        expect(sortedEntries(shuffled.fields)).toEqual(sortedEntries(inOrder.fields));
        expect(shuffled.head.told.length).toBeLessThanOrEqual(fields.length);
      }),
    );
  });

  interface Told {
    readonly fields: StripeObject;
    readonly place: number;
  }

  /** What is stored after these parts. */
  function apply(parts: readonly Told[]): Stored {
    let now: Stored | undefined;
    for (const { fields, place } of parts) {
      const decision: PartDecision = decidePart(now, fields, placed(place));
      if (decision.kind !== 'write') continue;
      const merged: [string, unknown][] = [
        ...Object.entries(now?.fields ?? {}),
        ...Object.entries(decision.fields),
      ];
      now = {
        head: head({ observed: undefined, told: decision.told }),
        fields: Object.fromEntries(merged),
      };
    }
    return now!;
  }

  const sortedEntries = (fields: object): [string, unknown][] =>
    Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)) as [string, unknown][];
});
