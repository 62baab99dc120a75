// The order of batches of one customer: of two, the one that was inserted later wins, on any replica and in any order of work; parts add up.
import { beforeAll, describe, expect, test } from 'vitest';
import { applyReads, toReads } from '../../src/sync/apply.js';
import type { ItemResult } from '../../src/sync/outcome.js';
import type { Mirror } from '../../src/sync/ports.js';
import type { Telling } from '../../src/sync/telling.js';
import { freshDatabase } from '../support/database.js';
import {
  answered,
  datedAs,
  insertedAs,
  openMirror,
  stripeId,
  takeBatch,
  type TestMirror,
  newId,
  whole,
} from '../support/mirror.js';
import { until } from '../support/until.js';

const database = freshDatabase();
let m: TestMirror;
/** Two replicas: they share MongoDB and nothing else. */
let replicas: readonly [Mirror, Mirror];

beforeAll(async () => {
  m = await openMirror(database);
  replicas = [m.mirror, (await openMirror(database)).mirror];
});

const newIds = (count: number): string[] => Array.from({ length: count }, newId);

async function fieldsOf(id: string): Promise<object | undefined> {
  const { _id, _sync, ...fields } = (await m.stored(id)) ?? {};
  return fields;
}

interface Batch {
  readonly entries: readonly object[];
  readonly told: Telling;
}

const take = async ({ entries, told }: Batch, replica = 0): Promise<readonly ItemResult[]> =>
  (await takeBatch(replicas[replica % 2]!, entries, told)).items;

/** How batches may be worked on: in their order, in the other order, and each by a replica of its own at once. */
const ways: readonly [string, (batches: readonly Batch[]) => Promise<unknown>][] = [
  ['in their order', (batches) => inTurn(batches)],
  ['in the other order', (batches) => inTurn(batches.toReversed())],
  ['at once', (batches) => Promise.all(batches.map((batch, index) => take(batch, index)))],
  ['at once, the other way round', (batches) => Promise.all(batches.toReversed().map(take))],
];

async function inTurn(batches: readonly Batch[]): Promise<void> {
  for (const [index, batch] of batches.entries()) await take(batch, index);
}

/** When two batches may have been told, the second one later. */
const pairs: readonly [string, Telling, Telling][] = [
  ['an hour apart', insertedAs(11, 1_000), insertedAs(12, 3_601_000)],
  ['in one millisecond', insertedAs(21, 5_000), insertedAs(22, 5_000)],
  ['while MongoDB’s clock was set back', insertedAs(31, 9_000), insertedAs(32, 2_000)],
  ['dated in one millisecond', datedAs(41, 5_000), datedAs(42, 5_000)],
  ['one dated, in one millisecond', datedAs(51, 5_000), insertedAs(52, 5_000)],
  ['dated otherwise than inserted', datedAs(62, 2_000), datedAs(61, 3_000)],
];

describe.each(pairs)('of two whole batches, %s,', (_when, first, second) => {
  test.each(ways)('the later one wins, worked on %s', async (_way, work) => {
    const [fresh, known] = [newIds(20), newIds(20)];
    await take({ entries: known.map((id) => whole(id, { name: 'before' })), told: insertedAs(1, 500) });
    const ids = [...fresh, ...known];

    await work([
      { entries: ids.map((id) => whole(id, { name: 'first', phone: '1' })), told: first },
      { entries: ids.map((id) => whole(id, { name: 'second' })), told: second },
    ]);

    for (const id of ids) expect(await fieldsOf(id)).toEqual(whole(id, { name: 'second' }));
  });
});

test('a whole batch that was inserted before one that is stored says that it is older', async () => {
  const id = newId();
  await take({ entries: [whole(id, { name: 'second' })], told: insertedAs(2, 5_000) });

  const items = await take({ entries: [whole(id, { name: 'first' })], told: insertedAs(1, 5_000) });

  expect(items).toEqual([{ id, outcome: 'stale', code: 'older_than_batch' }]);
});

test('of two whole batches without a place, told of within the same second, neither replaces the other in silence', async () => {
  const id = newId();
  const told = { from: new Date(5_000), to: new Date(6_000) };
  await take({ entries: [whole(id, { name: 'a' })], told });

  for (const entry of [whole(id, { name: 'b' }), { id, name: 'b' }]) {
    expect(await take({ entries: [entry], told })).toEqual([{ id, outcome: 'stale', code: 'order_unknown' }]);
  }

  expect(await fieldsOf(id)).toMatchObject({ name: 'a' });
});

describe.each<[string, (id: string, name: string) => object]>([
  ['whole', (id, name) => whole(id, { name })],
  ['parts', (id, name) => ({ id, name })],
])('a state that comes back, X, Y and X again, told by batches that are %s,', (_what, entry) => {
  test.each([[[0, 2, 1]], [[1, 0, 2]], [[1, 2, 0]], [[2, 0, 1]], [[2, 1, 0]]])(
    'is the last one, worked on in the order %j',
    async (order) => {
      const id = newId();
      await take({ entries: [whole(id, { name: 'X' })], told: insertedAs(1, 500) });
      const batches = ['X', 'Y', 'X'].map((name, index) => ({
        entries: [entry(id, name)],
        told: insertedAs(10 + index, 5_000),
      }));

      await inTurn(order.map((index) => batches[index]!));

      expect(await fieldsOf(id)).toMatchObject({ name: 'X' });
    },
  );
});

test.each([
  ['whole', (id: string, name: string) => whole(id, { name })],
  ['part', (id: string, name: string) => ({ id, name })],
])('of many %s entries of one customer in a batch the last one wins', async (_what, entryOf) => {
  const id = newId();
  const entries = Array.from({ length: 12 }, (_, index) => entryOf(id, `n${index}`));

  await take({ entries, told: insertedAs(1, 500) });

  expect(await fieldsOf(id)).toMatchObject({ name: 'n11' });
});

describe('parts of one customer, of different fields,', () => {
  test.each([
    ['new', false],
    ['mirrored', true],
  ])('add up for each of 100 %s customers, told by two replicas at once', async (_what, isMirrored) => {
    const ids = newIds(100);
    const before = (id: string): object => (isMirrored ? whole(id, { name: 'before', phone: '1' }) : {});
    if (isMirrored) await take({ entries: ids.map(before), told: insertedAs(1, 500) });

    const items = await Promise.all([
      take({ entries: ids.map((id) => ({ id, name: 'Jane' })), told: insertedAs(11, 5_000) }, 0),
      take({ entries: ids.map((id) => ({ id, email: 'j@x.com' })), told: insertedAs(12, 5_000) }, 1),
    ]);

    for (const id of ids)
      expect(await fieldsOf(id)).toEqual({ ...before(id), id, name: 'Jane', email: 'j@x.com' });
    const outcomes = items.flat().map(({ outcome }) => outcome);
    expect(outcomes.filter((outcome) => outcome === 'created')).toHaveLength(isMirrored ? 0 : 100);
    expect(outcomes.filter((outcome) => outcome === 'updated')).toHaveLength(isMirrored ? 200 : 100);
  });

  const jane = { object: 'customer', created: 5, name: 'Jane' };

  test.each([
    ['a part', { name: 'Jane' }, []],
    ['a whole', jane, []],
    ['a whole that keeps a later field', jane, [{ description: 'later' }]],
  ])('count as what they did, where another writer comes right after %s', async (_what, fields, later) => {
    const id = newId();
    await take({ entries: [whole(id, { name: 'before', phone: '1' })], told: insertedAs(1, 500) });
    await take({ entries: later.map((part) => ({ id, ...part })), told: insertedAs(13, 7_000) });
    const [first, second] = replicas;
    let isOutrun = false;
    const outrun: Mirror = {
      ...first,
      write: async (writes) => {
        const results = await first.write(writes);
        if (isOutrun) return results;
        isOutrun = true;
        await takeBatch(second, [{ id, email: 'j@x.com' }], insertedAs(12, 6_000));
        // As a bulk of which one write has met another one tells: what is stored has another name.
        return first.write(writes);
      },
    };

    const { items } = await takeBatch(outrun, [{ id, ...fields }], insertedAs(11, 5_000));

    expect(items).toEqual([{ id, outcome: 'updated' }]);
    expect(await fieldsOf(id)).toMatchObject({ name: 'Jane', email: 'j@x.com' });
  });

  test('add up for one customer that ten batches tell of at once', async () => {
    const id = newId();
    const batches = Array.from({ length: 10 }, (_, index) => ({
      entries: [{ id, [`field_${index}`]: index }],
      told: insertedAs(10 + index, 5_000),
    }));

    await Promise.all(batches.map(take));

    const expected = Object.fromEntries(batches.map((_, index) => [`field_${index}`, index]));
    expect(await fieldsOf(id)).toEqual({ id, ...expected });
  });

  test.each([[[0, 1, 2]], [[0, 2, 1]], [[1, 0, 2]], [[1, 2, 0]], [[2, 0, 1]], [[2, 1, 0]]])(
    'are kept where a whole one came before, and not where it came after, in the order %j',
    async (order) => {
      const id = newId();
      const batches = [
        { entries: [{ id, name: 'of the first part', phone: '1' }], told: insertedAs(1, 5_000) },
        {
          entries: [whole(id, { name: 'of the whole', email: 'of the whole' })],
          told: insertedAs(2, 5_000),
        },
        { entries: [{ id, email: 'of the last part', address: null }], told: insertedAs(3, 5_000) },
      ];

      await inTurn(order.map((index) => batches[index]!));

      const expected = { name: 'of the whole', email: 'of the last part', address: null };
      expect(await fieldsOf(id)).toEqual(whole(id, expected));
    },
  );

  test('lose the fields that were told later, keep the others, and say so where they lose all', async () => {
    const id = newId();
    await take({ entries: [{ id, name: 'later' }], told: insertedAs(2, 5_000) });

    const [both] = await take({ entries: [{ id, name: 'earlier', phone: '1' }], told: insertedAs(1, 5_000) });
    const [none] = await take({ entries: [{ id, name: 'earlier' }], told: insertedAs(1, 5_000) });

    expect(both).toEqual({ id, outcome: 'updated' });
    expect(none).toEqual({ id, outcome: 'stale', code: 'older_than_batch' });
    expect(await fieldsOf(id)).toEqual({ id, name: 'later', phone: '1' });
  });

  test('are data in every key: paths, operators and the empty key are told apart', async () => {
    const id = newId();
    const odd = (value: string) =>
      JSON.parse(`{"$set":"${value}","a.b":"${value}","":"${value}","__proto__":"${value}"}`) as object;

    await take({ entries: [{ ...odd('later'), id }], told: insertedAs(2, 5_000) });
    const items = await take({ entries: [{ ...odd('earlier'), id }], told: insertedAs(1, 5_000) });

    expect(items).toEqual([{ id, outcome: 'stale', code: 'older_than_batch' }]);
    expect(await fieldsOf(id)).toMatchObject({ $set: 'later', 'a.b': 'later', '': 'later' });
  });
});

test.each<[string, (id: string) => object]>([
  ['whole', (id) => whole(id, { name: 'known' })],
  ['a part', (id) => ({ id, name: 'known' })],
])(
  'a batch of unknown order, %s, is applied where its caller knew what is stored',
  async (_what, entryOf) => {
    const id = newId();
    await m.read(whole(id, { name: 'before' }), 1_000);
    const { writeId: stored } = (await m.mirror.headsOf([stripeId(id)])).get(stripeId(id))!;
    const told = { from: new Date(900), to: new Date(2_000) };

    const unknown = await takeBatch(m.mirror, [entryOf(id)], told);
    const known = await takeBatch(m.mirror, [entryOf(id)], told, {
      isLaterThan: ({ writeId }) => writeId === stored,
    });

    expect(unknown.items).toEqual([{ id, outcome: 'stale', code: 'order_unknown' }]);
    expect(known.items).toEqual([{ id, outcome: 'updated' }]);
    expect(await fieldsOf(id)).toMatchObject({ name: 'known' });
  },
);

test('a batch inserted after an answer was written is later, however badly the clock was known at the answer', async () => {
  for (const isKnown of [false, true]) {
    const id = newId();
    const now = Date.now();
    if (isKnown) await m.read(whole(id, { name: 'before' }), 1_000);
    const reads = toReads([whole(id, { name: 'read' })], answered(now - 1_000, now + 60_000), 'retrieve');
    await applyReads(m.mirror, reads, await m.mirror.headsOf([stripeId(id)]));
    const written = ((await m.stored(id))?.['_sync'] as { writtenAt: Date }).writtenAt.getTime();
    await until(() => Date.now() > written + 1, { what: 'a later millisecond' });

    const told = insertedAs(1, Date.now());
    expect(await take({ entries: [whole(id, { name: 'batch' })], told })).toEqual([
      { id, outcome: 'updated' },
    ]);
  }
});
