// Batches of one customer, whole and in parts, worked on in any order, some at once by two replicas and some twice: what is stored in the
// end is what they tell one after the other, in the order in which they were told. BATCH_ORDER_SEED runs the stories of another seed.
import { randomInt } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { freshDatabase } from '../support/database.js';
import { datedAs, insertedAs, openMirror, takeBatch } from '../support/mirror.js';

const given = process.env['BATCH_ORDER_SEED'];
const seeds = given === undefined ? [20_261_124, randomInt(2 ** 31)] : [Number(given)];

interface Told {
  /** Milliseconds since the batch before it was inserted. */
  readonly after: number;
  /** How many milliseconds before its insertion it says it was true; undefined where it does not say. */
  readonly datedBack: number | undefined;
  readonly isWhole: boolean;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Few fields and values, so that states come back. */
const fields = fc.record(
  {
    name: fc.constantFrom('a', 'b', null),
    phone: fc.constantFrom('1', '2'),
    metadata: fc.constantFrom({}, { a: '1' }, { $set: { 'a.b': '1' } }),
    'a.b': fc.constantFrom('$name', '2'),
  },
  { requiredKeys: [], noNullPrototype: true },
);
const batch: fc.Arbitrary<Told> = fc.record({
  after: fc.constantFrom(0, 0, 1, 2, 1_000),
  datedBack: fc.option(fc.constantFrom(0, 1, 2, 500), { nil: undefined, freq: 2 }),
  isWhole: fc.integer({ min: 0, max: 2 }).map((third) => third === 0),
  fields,
});

/** Batches in the order of their insertion, an order to work on them, and how many at once. */
const stories = fc.array(batch, { minLength: 2, maxLength: 7 }).chain((batches) =>
  fc.record({
    batches: fc.constant(batches),
    order: fc.shuffledSubarray([...batches.keys(), ...batches.keys()], { minLength: batches.length * 2 }),
    work: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 14, maxLength: 14 }),
    isTwice: fc.boolean(),
  }),
);

const insertedAtOf = (batches: readonly Told[], index: number): number =>
  batches.slice(0, index + 1).reduce((at, { after }) => at + after, 10_000);

const toldAtOf = (batches: readonly Told[], index: number): number =>
  insertedAtOf(batches, index) - (batches[index]?.datedBack ?? 0);

const entryOf = (id: string, { isWhole, fields: own }: Told): object =>
  isWhole ? { id, object: 'customer', created: 1_700_000_000, ...own } : { ...own, id };

/** One after the other, as they were told. */
function expectedOf(id: string, batches: readonly Told[]): object {
  const inOrder = [...batches.keys()].sort((a, b) => toldAtOf(batches, a) - toldAtOf(batches, b) || a - b);
  let stored: object = { id };
  for (const index of inOrder) {
    const told = batches[index]!;
    stored = told.isWhole ? entryOf(id, told) : { ...stored, ...entryOf(id, told) };
  }
  return stored;
}

test.each(seeds)('any order of work leaves what the order of insertion tells, with seed %i', async (seed) => {
  const database = freshDatabase();
  const { mirror, stored } = await openMirror(database);
  const replicas = [mirror, (await openMirror(database)).mirror] as const;
  let next = 0;
  await fc.assert(
    fc.asyncProperty(stories, async ({ batches, order, work, isTwice }) => {
      const id = `cus_${(next += 1)}`;
      const left = isTwice ? [...order] : [...new Set(order)];
      const take = (index: number, nth: number): Promise<unknown> => {
        const told = batches[index]!;
        const { datedBack } = told;
        const at = toldAtOf(batches, index);
        const telling = datedBack === undefined ? insertedAs(index, at) : datedAs(index, at);
        return takeBatch(replicas[nth % 2]!, [entryOf(id, told)], telling);
      };

      for (let round = 0; left.length > 0; round += 1) {
        await Promise.all(left.splice(0, work[round] ?? 1).map(take));
      }

      const { _id, _sync, ...fieldsOf } = (await stored(id)) ?? {};
      expect(fieldsOf).toEqual(expectedOf(id, batches));
    }),
    { numRuns: 80, endOnFailure: true, seed },
  );
});
