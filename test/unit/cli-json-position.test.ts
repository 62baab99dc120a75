import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonFaultOffset, lineAndColumn } from '../../src/cli/batch-input.js';

const parses = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

const placeOf = (text: string): string | undefined => {
  const offset = jsonFaultOffset(text);
  if (offset === undefined) return undefined;
  const { line, column } = lineAndColumn(text, offset);
  return `${line}:${column}`;
};

describe('the place of a fault in JSON', () => {
  it.each([
    ['', '1:1'],
    ['{', '1:2'],
    ['{"a": x}', '1:7'],
    ['{"a" 1}', '1:6'],
    ["{'a': 1}", '1:2'],
    ['[1, 2,]', '1:7'],
    ['[1 2]', '1:4'],
    ['[1}', '1:3'],
    ['{"a": 1,}', '1:9'],
    ['[\n  {"id": "cus_1"},\n  {"id": "cus_2"\n', '4:1'],
    ['[\n  {"id": "cus_1"}\n  {"id": "cus_2"}]', '3:3'],
    ['{"a": "b\n"}', '1:9'],
    ['{"a": "\\x"}', '1:8'],
    ['{"a": "b', '1:9'],
    ['{"a": 01}', '1:8'],
    ['{} {}', '1:4'],
    ['nul', '1:1'],
  ])('of %j is %s', (text, place) => {
    expect(placeOf(text)).toBe(place);
  });

  it('is found exactly where JSON.parse refuses', () => {
    const alphabet = fc.constantFrom(
      ...'{}[]",: \n\\0123456789.eE+-truefalsnu'.split(''),
      'é',
      '\u0001',
      '😀',
    );
    const nonsense = fc.array(alphabet, { maxLength: 12 }).map((characters) => characters.join(''));
    const damaged = fc
      .tuple(fc.json(), fc.nat(), nonsense, fc.nat({ max: 3 }))
      .map(([text, at, middle, lost]) => {
        const place = at % (text.length + 1);
        return text.slice(0, place) + middle + text.slice(place + lost);
      });

    fc.assert(
      fc.property(fc.oneof(nonsense, damaged, fc.json()), (text) => {
        const offset = jsonFaultOffset(text);
        expect(offset === undefined).toBe(parses(text));
        expect(offset ?? 0).toBeLessThanOrEqual(text.length);
      }),
      { numRuns: 3_000 },
    );
  });

  it('is never after the first character that cannot be continued to JSON', () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(), (text, at) => {
        const place = at % (text.length + 1);
        const offset = jsonFaultOffset(`${text.slice(0, place)}\u0001`);
        expect(offset).toBeLessThanOrEqual(place);
      }),
    );
  });
});
