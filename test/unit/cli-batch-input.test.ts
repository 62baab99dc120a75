import fc from 'fast-check';
import { mongo } from 'mongoose';
import { describe, expect, it } from 'vitest';
import { parseBatch } from '../../src/cli/batch-input.js';
import { UsageFault } from '../../src/cli/faults.js';
import { newRequest, splitBatch } from '../../src/requests/parse.js';
import { maxBatchBytes, maxEntries } from '../../src/requests/request.js';

const faultsOf = (text: string): readonly string[] => {
  try {
    parseBatch(text, 'customers.json');
  } catch (error) {
    if (error instanceof UsageFault) return error.faults;
    throw error;
  }
  return [];
};

const idsOf = (text: string): string[] =>
  parseBatch(text, 'customers.json').map(({ customer }) => customer.id);

describe('a batch of customers', () => {
  it.each([
    ['a JSON array', '[{"id": "cus_1"}, {"id": "cus_2"}]'],
    ['a list as the Stripe API returns it', '{"object": "list", "data": [{"id": "cus_1"}, {"id": "cus_2"}]}'],
    ['one object a line', '{"id": "cus_1"}\n{"id": "cus_2"}\n'],
    ['one object a line, with empty lines and Windows line ends', '\n{"id": "cus_1"}\r\n\r\n{"id": "cus_2"}'],
  ])('is read from %s', (_, text) => {
    expect(idsOf(text)).toEqual(['cus_1', 'cus_2']);
  });

  it('is read from one object over several lines', () => {
    expect(idsOf('{\n  "id": "cus_1",\n  "name": null\n}\n')).toEqual(['cus_1']);
  });

  it.each([
    ['', ['customers.json holds no customers']],
    [' \n', ['customers.json holds no customers']],
    ['[]', ['customers.json holds no customers']],
    ['[{"id": "cus_1"},\n {"id": cus_2}]', ['customers.json: invalid JSON at line 2, column 9']],
    [
      '[{"id": "cus_1"}',
      ['customers.json: invalid JSON at line 1, column 17, where the text ends too early'],
    ],
    ['{\n  "id": "cus_1"\n  "name": 1\n}', ['customers.json: invalid JSON at line 3, column 3']],
    [
      '{"id": "cus_1"}\n{"id": "cus_2",}\n{"id": "cus_3"}\nnope',
      [
        'customers.json: invalid JSON at line 2, column 16',
        'customers.json: invalid JSON at line 4, column 1',
      ],
    ],
    ['7', ['customers.json: the text must be a customer object with an id such as cus_123, got a number']],
    [
      '[{"id": "cus_1"}, null, ["cus_2"], {"name": "x"}, {"id": ""}]',
      [
        'customers.json: entry 2 must be a customer object with an id such as cus_123, got null',
        'customers.json: entry 3 must be a customer object with an id such as cus_123, got a list of 1',
        'customers.json: entry 4 must be a customer object with an id such as cus_123, got an object without one',
        'customers.json: entry 5 must be a customer object with an id such as cus_123, got an object whose id is a string',
      ],
    ],
  ])('names the place of every fault in %j', (text, faults) => {
    expect(faultsOf(text)).toEqual(faults);
  });

  it('tells twenty faults and counts the rest', () => {
    const faults = faultsOf(`[${'1,'.repeat(49)}1]`);

    expect(faults).toHaveLength(21);
    expect(faults.at(-1)).toBe('30 more faults of this kind');
  });

  it('tells nothing of what stands in a faulty text', () => {
    const canary = 'jane.canary@example.com';

    const faults = [
      ...faultsOf(`[{"id": "cus_1", "email": "${canary}" "name": 1}]`),
      ...faultsOf(`[{"id": "${canary}\\u0000"}, "${canary}", {"${canary}": 1}]`),
      ...faultsOf(`${canary}\n{}`),
    ];

    expect(faults.length).toBeGreaterThan(4);
    expect(faults.join()).not.toContain('canary');
  });
});

describe('splitting a batch', () => {
  const customers = (count: number, bytes: number): { id: string; description: string }[] =>
    Array.from({ length: count }, (_, index) => ({ id: `cus_${index}`, description: 'x'.repeat(bytes) }));

  it('keeps order and entries, and every part is a request that can be inserted', () => {
    const sizes = fc.array(fc.oneof(fc.nat(200), fc.nat(1_200_000)), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(sizes, fc.nat({ max: 2_100 }), (large, small) => {
        const entries = [...large.flatMap((size) => customers(1, size)), ...customers(small, 0)];

        const batches = splitBatch(entries, (entry) => entry);

        expect(batches.flat()).toEqual(entries);
        for (const batch of batches) newRequest({ command: 'syncBatch', batch });
      }),
      { numRuns: 30 },
    );
  });

  it('makes no more parts than are needed', () => {
    expect(splitBatch(customers(2 * maxEntries, 10), (entry) => entry).map(({ length }) => length)).toEqual([
      maxEntries,
      maxEntries,
    ]);
    const half = (maxBatchBytes - mongo.BSON.calculateObjectSize({ batch: [] })) / 2;
    const overhead = mongo.BSON.calculateObjectSize({ id: 'cus_0', description: '' }) + 5;
    expect(splitBatch(customers(4, half - overhead), (entry) => entry)).toHaveLength(2);
    expect(splitBatch(customers(4, half - overhead + 1), (entry) => entry)).toHaveLength(4);
  });
});
