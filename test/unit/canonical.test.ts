import fc from 'fast-check';
import { mongo } from 'mongoose';
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

const { BSON } = mongo;

/** As the driver returns what it has stored. */
const throughMongoDB = (value: unknown): unknown =>
  BSON.deserialize(BSON.serialize({ value }, { ignoreUndefined: false }))['value'];

const anyScalar = fc.oneof(
  fc.date({ noInvalidDate: true }),
  fc
    .tuple(fc.constantFrom('a', 'a+', '[/"]'), fc.constantFrom('', 'i', 'g', 'm', 's', 'gim', 'gs'))
    .map(([source, flags]) => new RegExp(source, flags)),
  fc.constantFrom('', 'i', 's', 'ims', 'x').map((options) => new mongo.BSONRegExp('a"b', options)),
  fc.uint8Array({ minLength: 12, maxLength: 12 }).map((bytes) => new mongo.ObjectId(bytes)),
  fc.uint8Array({ maxLength: 3 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(fc.uint8Array({ maxLength: 3 }), fc.constantFrom(0, 5, 128))
    .map(([b, kind]) => new mongo.Binary(b, kind)),
  fc.uuid().map((uuid) => new mongo.UUID(uuid)),
  fc.constantFrom('0', '1.10', '1.1', 'NaN', '-0', '1E+3').map((text) => mongo.Decimal128.fromString(text)),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => mongo.Long.fromBigInt(value)),
  fc.integer().map((value) => new mongo.Int32(value)),
  fc.double().map((value) => new mongo.Double(value)),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => new mongo.Timestamp(value)),
  fc.constantFrom(new mongo.MinKey(), new mongo.MaxKey(), undefined, NaN, Infinity, -0),
  fc.constantFrom(
    new mongo.Code('x'),
    new mongo.Code('x', { a: 1 }),
    new mongo.Code('x', { a: new Date(1) }),
  ),
  fc.constantFrom(
    new mongo.DBRef('c', new mongo.ObjectId('0'.repeat(24))),
    new mongo.DBRef('c', new mongo.ObjectId('0'.repeat(24)), 'd', { e: 1 }),
  ),
  fc.constantFrom(new mongo.BSONSymbol('s')),
  fc.jsonValue({ stringUnit: 'grapheme' }),
);
const anyBson = fc.oneof(
  anyScalar,
  fc.dictionary(fc.constantFrom('a', '$date', '$oid', 'b.c', '__proto__'), anyScalar),
  fc.array(anyScalar, { maxLength: 3 }),
  fc.dictionary(fc.constantFrom('a', 'b'), anyScalar).map((fields) => new Map(Object.entries(fields))),
);

describe('the text of a value that JSON lacks', () => {
  it('is that of what MongoDB returns for it', () => {
    fc.assert(
      fc.property(anyBson, (value) => {
        expect(canonicalJson(throughMongoDB(value))).toBe(canonicalJson(value));
      }),
      { numRuns: 2_000 },
    );
  });

  it('is another one for every other value', () => {
    // As MongoDB compares: numbers by their value, whatever their type.
    const bytesOf = (value: unknown): string =>
      Buffer.from(BSON.serialize({ value: throughMongoDB(value) })).toString('hex');
    fc.assert(
      fc.property(anyBson, anyBson, (a, b) => {
        if (canonicalJson(a) !== canonicalJson(b)) return;
        const sorted = (value: unknown): unknown => sortedKeys(throughMongoDB(value));
        expect(bytesOf(sorted(a))).toBe(bytesOf(sorted(b)));
      }),
      { numRuns: 5_000 },
    );
  });

  it.each([
    [new Date(1), new Date(2)],
    [new Date(1), { $date: '1970-01-01T00:00:00.001Z' }],
    [new Date(1), {}],
    [/a/, /a/i],
    [/a/, '/a/'],
    [new mongo.ObjectId('0'.repeat(24)), '0'.repeat(24)],
    [mongo.Decimal128.fromString('1.0'), mongo.Decimal128.fromString('1.00')],
    [mongo.Decimal128.fromString('1'), 1],
    [9_007_199_254_740_993n, 9_007_199_254_740_992],
    [new mongo.Binary(Buffer.from('a'), 0), new mongo.Binary(Buffer.from('a'), 5)],
    [new mongo.MinKey(), new mongo.MaxKey()],
  ])('is not the same for %o and %o', (a, b) => {
    expect(canonicalJson(a)).not.toBe(canonicalJson(b));
    expect(prepare({ id: 'cus_1', a } as unknown as StripeObject).hash).not.toBe(
      prepare({ id: 'cus_1', a: b } as unknown as StripeObject).hash,
    );
  });

  it('stays what it is beside a text that has to be mended', () => {
    const at = new Date(1);

    const { object } = prepare({ id: 'cus_1', name: '\ud800', at } as unknown as StripeObject);

    expect(object).toEqual({ id: 'cus_1', name: '\ufffd', at });
  });
});

function sortedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedKeys);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, field]) => [key, sortedKeys(field)]),
  );
}
