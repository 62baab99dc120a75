import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, prepare } from '../../src/sync/canonical.js';
import type { StripeObject } from '../../src/sync/ports.js';

/** As an object of Stripe arrives: out of JSON, so that `__proto__` is a field like any other. */
const received = (json: string): StripeObject => JSON.parse(json) as StripeObject;

const shuffled = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(shuffled);
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, field]) => [key, shuffled(field)]),
  );
};

describe('the hash of a customer', () => {
  it('does not depend on the order of keys', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(canonicalJson(shuffled(value))).toBe(canonicalJson(value));
      }),
    );
  });

  it('is of the JSON that JSON.stringify would write, but for the order of keys', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(value)).toHaveLength(JSON.stringify(value).length);
      }),
    );
  });

  it('is the one that earlier versions stored: after an upgrade nobody has changed', () => {
    const json = String.raw`{"id":"cus_1","object":"customer","created":1700000000,"name":"Zoë \"Z\"","address":{"line1":null,"city":"Køge"},"preferred_locales":["da","en"],"metadata":{"b":"2","a":"1"},"livemode":false}`;

    expect(prepare(received(json)).hash).toBe('kkBq7STVDWPLYmPcNqhObv');
  });

  it('does not depend on what was hashed before', () => {
    const keys = fc.constantFrom('a', 'b', 'B', 'é', '"', '1', '10', '2', '__proto__', 'toString');
    const fields = fc.array(fc.tuple(keys, fc.integer()), { maxLength: 5 });
    fc.assert(
      fc.property(fc.array(fields), (objects) => {
        for (const object of objects.map((entries) => Object.fromEntries(entries))) {
          const inOrder = Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1));
          const json = inOrder.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',');
          expect(canonicalJson(object)).toBe(`{${json}}`);
        }
      }),
    );
  });

  it('tells any two different values apart', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const isSame = canonicalJson(a) === canonicalJson(b);

        expect(isSame).toBe(JSON.stringify(sorted(a)) === JSON.stringify(sorted(b)));
      }),
    );
  });

  it('tells an empty list from an empty object', () => {
    expect(canonicalJson([])).not.toBe(canonicalJson({}));
  });

  it('is of what MongoDB will hold: lone surrogates become U+FFFD in values and in keys', () => {
    const { object, hash } = prepare(
      received(String.raw`{"id":"cus_1","name":"a\ud800b","metadata":{"\udfff":"\ud83d\ude00"}}`),
    );

    expect(object['name']).toBe('a\uFFFDb');
    expect(object['metadata']).toEqual({ '\uFFFD': '😀' });
    expect(prepare(object).hash).toBe(hash);
  });

  it('leaves a text alone that only looks like an escaped surrogate', () => {
    const { object } = prepare(received(String.raw`{"id":"cus_1","name":"\\ud800"}`));

    expect(object['name']).toBe(String.raw`\ud800`);
  });

  it('keeps __proto__, the empty key and keys with dots and dollars as plain fields', () => {
    const json = String.raw`{"id":"cus_1","metadata":{"__proto__":"p","":"e","a.b":"d","$set":"s"},"name":"\ud800"}`;

    const metadata = prepare(received(json)).object['metadata'] as object;

    expect(Object.entries(metadata)).toEqual([
      ['__proto__', 'p'],
      ['', 'e'],
      ['a.b', 'd'],
      ['$set', 's'],
    ]);
  });

  it('takes no field that belongs to the mirror or to the application', () => {
    const { object, hash } = prepare(received('{"id":"cus_1","_id":"x","_sync":{},"app":1}'));

    expect(object).toEqual({ id: 'cus_1' });
    expect(hash).toBe(prepare(received('{"id":"cus_1"}')).hash);
  });
});

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  // Under a key of its own: as a bare list of pairs, {} would be the same as [].
  return { entries: entries.map(([key, field]) => [key, sorted(field)]) };
}
