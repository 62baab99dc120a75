import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseExactJson } from '../../src/base/exact-json.js';

describe('exact JSON', () => {
  it('is what JSON.parse makes of it, but for long integers', () => {
    fc.assert(
      fc.property(fc.json({ stringUnit: 'binary' }), fc.boolean(), (json, isLong) => {
        const text = isLong ? `[9007199254740993,${json}]` : json;
        const rounded = JSON.stringify(parseExactJson(text), (_key, value: unknown) =>
          typeof value === 'bigint' ? Number(value) : value,
        );
        expect(rounded).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  it.each([
    ['9007199254740991', 9007199254740991],
    ['9007199254740992', 9007199254740992n],
    ['9007199254740993', 9007199254740993n],
    ['-9007199254740993', -9007199254740993n],
    ['9223372036854775807', 9223372036854775807n],
    ['-9223372036854775808', -9223372036854775808n],
    ['9223372036854775808', 9223372036854775808],
    ['1234567890123456789012', 1234567890123456774144],
    ['9007199254740993.0', 9007199254740992],
    ['9007199254740993e0', 9007199254740992],
    ['1e21', 1e21],
    ['0.9007199254740993', 0.9007199254740993],
    ['1e-9007199254740993', 0],
  ])('reads %s as %s, wherever it stands', (digits, value) => {
    expect(parseExactJson(digits)).toBe(value);
    const text = `{"a":[9007199254740993,${digits}],"b": ${digits} ,"${digits}":"${digits}","c":"\\\\","d":"\\":${digits},","__proto__":${digits}}`;
    const parsed = parseExactJson(text) as Record<string, unknown>;
    expect(Object.entries(parsed)).toEqual([
      ['a', [9007199254740993n, value]],
      ['b', value],
      [digits, digits],
      ['c', '\\'],
      ['d', `":${digits},`],
      ['__proto__', value],
    ]);
  });

  it.each(['', '{', '[9007199254740993', '{"a":01}'])('refuses %j as JSON.parse does', (text) => {
    expect(() => parseExactJson(text)).toThrow(SyntaxError);
  });
});
