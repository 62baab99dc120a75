// What a request must look like, and what is told of one that does not.
import { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { isFault } from '../../src/base/errors.js';
import { commandNames, observedAtOf } from '../../src/requests/commands.js';
import { describeValue, newRequest, parseRequest } from '../../src/requests/parse.js';

const faultsOf = (body: object): readonly string[] => {
  const parsed = parseRequest(body);
  return parsed.kind === 'invalid' ? parsed.faults : [];
};

describe('a request that is valid', () => {
  test.each([
    [{ command: 'syncAll' }, { command: 'syncAll' }],
    [
      { command: 'syncByIds', ids: ['cus_2', 'cus_1', 'cus_2'] },
      { command: 'syncByIds', ids: ['cus_2', 'cus_1'] },
    ],
    [
      { command: 'softDelete', stripeId: 'cus_1' },
      { command: 'softDelete', stripeId: 'cus_1' },
    ],
    [
      { command: 'syncBatch', batch: [{ id: 'cus_1' }], observedAt: new Date(5) },
      { command: 'syncBatch', batch: [{ id: 'cus_1' }], observedAt: new Date(5) },
    ],
  ])('%j becomes its command', (body, command) => {
    expect(parseRequest(body)).toEqual({
      kind: 'valid',
      command: { ...command, object: 'customer' },
      options: { dryRun: false, maxAttempts: undefined },
    });
  });

  test('may leave options out, set them to null, and carry fields of its own', () => {
    const nothing = {
      runAt: null,
      dedupeKey: null,
      maxAttempts: null,
      dryRun: null,
      requestedBy: null,
      cancel: null,
    };

    expect(parseRequest({ command: 'syncAll', ...nothing, ticket: 7 }).kind).toBe('valid');
  });

  test('hands the entries of a batch on as they are, whatever their keys', () => {
    const entry: object = JSON.parse(
      '{"id":"cus_1","metadata":{"__proto__":"a","$b":"$c","d.e":"","":1},"__proto__":{"f":1}}',
    ) as object;

    const parsed = parseRequest({ command: 'syncBatch', batch: [entry] });

    if (parsed.kind !== 'valid' || parsed.command.command !== 'syncBatch') throw new Error('not valid');
    expect(parsed.command.batch[0]).toBe(entry);
  });
});

describe('a request that is not valid', () => {
  test('is told every fault at once, each with field, value and what is allowed', () => {
    expect(
      faultsOf({
        command: 'syncByIds',
        ids: ['cus_1', '..', ''],
        maxAttempts: 0,
        dryRun: 'yes',
        runAt: '2026-01-01',
      }),
    ).toEqual([
      'ids[1] must be an id such as cus_123 (1 to 255 letters, digits, _ or -), got ".."',
      'ids[2] must be an id such as cus_123 (1 to 255 letters, digits, _ or -), got ""',
      'runAt must be a date, got "2026-01-01"',
      'maxAttempts must be a whole number from 1 to 100, got 0',
      'dryRun must be true or false, got "yes"',
    ]);
  });

  test.each([
    [{}, `command must be one of ${commandNames.join(', ')}, got nothing`],
    [{ command: ['syncAll'] }, `command must be one of ${commandNames.join(', ')}, got a list of 1`],
    [{ command: 'syncByIds' }, 'ids must be a list of 1 to 1000 ids, got nothing'],
    [{ command: 'syncByIds', ids: [] }, 'ids must be a list of 1 to 1000 ids, got a list of 0'],
    [
      { command: 'syncByIds', ids: Array(1_001).fill('cus_1') },
      'ids must be a list of 1 to 1000 ids, got a list of 1001',
    ],
    [
      { command: 'softDelete', stripeId: 'cus_1\n' },
      expect.stringContaining('got a string of 6 characters with "\\n"'),
    ],
    [{ command: 'softDelete', stripeId: { $gt: '' } }, expect.stringContaining('got an object')],
    [{ command: 'softDelete', stripeId: 'x'.repeat(256) }, expect.stringContaining('(256 characters)')],
    [{ command: 'syncBatch', batch: [] }, 'batch must be a list of 1 to 1000 objects, got a list of 0'],
    [
      { command: 'syncBatch', batch: [{ id: 'cus_1' }, { id: 5 }] },
      expect.stringMatching(/^batch\[1\]\.id .*got a number$/),
    ],
    [
      { command: 'syncAll', dedupeKey: '' },
      'dedupeKey must be a text of 1 to 256 characters, got a string of 0 characters',
    ],
    [
      { command: 'syncAll', maxAttempts: mongo.Long.fromString('9223372036854775807') },
      expect.stringContaining('got a value of type Long'),
    ],
  ])('%j is told %s', (body, fault) => {
    expect(faultsOf(body)).toEqual([fault]);
  });

  test('is told the faults of its options even when nobody knows its command', () => {
    expect(faultsOf({ command: 'syncEverything', dryRun: 1 })).toHaveLength(2);
  });

  test('is told at most a hundred faults', () => {
    const faults = faultsOf({
      command: 'syncByIds',
      ids: Array.from({ length: 1_000 }, (_, index) => `.${index}`),
    });

    expect(faults).toHaveLength(101);
    expect(faults.at(-1)).toBe('and 900 faults more');
  });

  test('has nothing of a person or a secret in what is told', () => {
    const canaries = ['jane.canary@example.com', 'Jane Canary', 'sk_live_canary123', 'rk_test_canary456'];
    const bodies = canaries.flatMap((canary) => [
      { command: canary },
      { command: 'syncByIds', ids: [canary] },
      { command: 'softDelete', stripeId: canary, requestedBy: { canary }, dedupeKey: [canary] },
      {
        command: 'syncBatch',
        batch: [{ id: canary, name: canary }, canary, [canary]],
        requestedBy: `${canary} `.repeat(100),
      },
      { command: 'syncAll', maxAttempts: canary, dryRun: canary, runAt: canary, cancel: canary },
    ]);

    const told = bodies.map(faultsOf);

    expect(told.flat().length).toBeGreaterThan(40);
    expect(JSON.stringify(told)).not.toMatch(/canary/i);
  });
});

describe('describeValue', () => {
  test.each([
    [undefined, 'nothing'],
    [null, 'null'],
    [true, 'true'],
    [NaN, 'NaN'],
    [7, '7'],
    ['cus_1', '"cus_1"'],
    ['jane@example.com', 'a string of 16 characters with "@"'],
    ['x'.repeat(60), `"${'x'.repeat(48)}…" (60 characters)`],
    [[1, 2], 'a list of 2'],
    [{ a: 1 }, 'an object'],
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    [new Date(NaN), 'an invalid date'],
    [new mongo.ObjectId(), 'a value of type ObjectId'],
    [new mongo.Timestamp(1n), 'a value of type Timestamp'],
  ])('shows %o as %s', (value, text) => {
    expect(describeValue(value)).toBe(text);
  });
});

describe('a new request', () => {
  test('gets an ObjectId and nothing else', () => {
    const request = newRequest({ command: 'softDelete', stripeId: 'cus_1', dryRun: true });

    expect(request).toEqual({
      _id: expect.any(mongo.ObjectId) as unknown,
      command: 'softDelete',
      stripeId: 'cus_1',
      dryRun: true,
    });
  });

  test('that is not valid throws every fault', () => {
    const make = (): unknown => newRequest({ command: 'syncByIds', ids: ['a b'], maxAttempts: 1.5 });

    expect(make).toThrow(/ids\[0\].*maxAttempts/s);
    try {
      make();
    } catch (error) {
      expect(isFault(error) && [error.code, error.kind]).toEqual(['invalid_request', 'terminal']);
    }
  });

  test('whose batch is above 4 MiB throws', () => {
    const batch = [{ id: 'cus_1', description: 'x'.repeat(4 * 1024 * 1024) }];

    expect(() => newRequest({ command: 'syncBatch', batch })).toThrow(
      'batch must have at most 4194304 bytes',
    );
  });
});

describe('a batch is taken as observed', () => {
  const at = (ms: number): Date => new Date(ms);

  test.each([
    ['when its request was inserted', undefined, 10, 20, 10],
    ['at the time it tells, when that is earlier', at(5), 10, 20, 5],
    ['at the claim, when it tells a later time', at(50), 10, 20, 20],
    ['at the claim, when its id is from the future', undefined, 30, 20, 20],
  ])('%s', (_name, observedAt, insertedAt, claimedAt, expected) => {
    const insertionOrder = { kind: 'within', from: at(insertedAt), to: at(insertedAt + 999) } as const;
    const context = { insertionOrder, claimedAt: at(claimedAt) };

    expect(observedAtOf({ observedAt }, context)).toEqual(at(expected));
  });
});
