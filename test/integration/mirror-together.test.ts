// Small reads and writes of the mirror that go to MongoDB in one command: each has the result that it would have had alone.
import { beforeAll, describe, expect, test } from 'vitest';
import { applyReads, toReads } from '../../src/sync/apply.js';
import { softDelete } from '../../src/sync/deletion.js';
import type { MirrorWrite, StripeObject } from '../../src/sync/ports.js';
import { newWriteId } from '../../src/sync/writes.js';
import { countCommands } from '../support/count-commands.js';
import { freshDatabase } from '../support/database.js';
import { answered, openMirror, stripeId, type TestMirror } from '../support/mirror.js';

const database = freshDatabase();
let m: TestMirror;

beforeAll(async () => {
  m = await openMirror(database);
});

let next = 0;
const customer = (fields: object = {}): StripeObject => ({
  id: stripeId(`cus_${(next += 1)}`),
  object: 'customer',
  created: 1_700_000_000,
  livemode: false,
  ...fields,
});
const store = async (...objects: StripeObject[]): Promise<void> => {
  await applyReads(m.mirror, toReads(objects, answered(500, 510), 'list'), new Map());
};
const insertOf = (object: StripeObject): MirrorWrite => {
  const { observed } = answered(1_000, 1_010);
  const [{ hash } = { hash: '' }] = toReads([object], answered(1_000, 1_010), 'list');
  const { id } = object;
  const write = { id, writeId: newWriteId(), basis: undefined, object, hash, observed, told: [] };
  return { kind: 'put', ...write, source: 'list' };
};

describe('at once', () => {
  test('reads are one command, and each gets the heads that it asked for', async () => {
    const stored = [customer(), customer(), customer()];
    await store(...stored);
    const asked = [[stored[0]!.id], [stored[1]!.id, stripeId('cus_nobody')], [stored[2]!.id, stored[0]!.id]];
    let heads: Map<string, unknown>[] = [];

    const finds = await countCommands(m.client, 'find', async () => {
      heads = await Promise.all(asked.map((ids) => m.mirror.headsOf(ids)));
    });

    expect(finds).toBe(1);
    expect(heads.map((each) => [...each.keys()])).toEqual([
      [stored[0]!.id],
      [stored[1]!.id],
      [stored[2]!.id, stored[0]!.id],
    ]);
  });

  test('writes are one command, each with its own results in order', async () => {
    const [first, second, third] = [customer(), customer(), customer()];
    let results: unknown[] = [];

    const inserts = await countCommands(m.client, 'insert', async () => {
      results = await Promise.all([
        m.mirror.write([insertOf(first), insertOf(second)]),
        m.mirror.write([insertOf(third)]),
      ]);
    });

    expect(inserts).toBe(1);
    expect(results).toEqual([[{ kind: 'written' }, { kind: 'written' }], [{ kind: 'written' }]]);
    for (const { id } of [first, second, third]) expect(await m.stored(id)).toBeDefined();
  });

  test('two marks of one customer, whose results could not be told apart in one, are two commands, and one counts', async () => {
    const [object, other] = [customer(), customer()];
    await store(object, other);
    let results: { readonly deleted: number; readonly failed: number }[] = [];

    const updates = await countCommands(m.client, 'update', async () => {
      results = await Promise.all([object, object, other].map(({ id }) => softDelete(m.mirror, id)));
    });

    expect(updates).toBe(2);
    expect(results.map(({ failed }) => failed)).toEqual([0, 0, 0]);
    expect(results.map(({ deleted }) => deleted).sort()).toEqual([0, 1, 1]);
    for (const { id } of [object, other])
      expect(await m.stored(id)).toMatchObject({ _sync: { deletedBy: 'request' } });
  });

  test('a guard that does not hold is a conflict of that write alone', async () => {
    const [known, fresh] = [customer(), customer()];
    await store(known);

    const results = await Promise.all([m.mirror.write([insertOf(known)]), m.mirror.write([insertOf(fresh)])]);

    expect(results).toEqual([[{ kind: 'conflict' }], [{ kind: 'written' }]]);
  });

  test('a document that MongoDB refuses is refused alone', async () => {
    const [large, fresh] = [customer({ blob: 'x'.repeat(17 * 1024 * 1024) }), customer()];

    const results = await Promise.all([m.mirror.write([insertOf(large)]), m.mirror.write([insertOf(fresh)])]);

    expect(results[0]).toEqual([expect.objectContaining({ kind: 'rejected', code: 'document_too_large' })]);
    expect(results[1]).toEqual([{ kind: 'written' }]);
  });

  test('one that may not be sent any more is not, and the others are', async () => {
    const [lost, held, also] = [customer(), customer(), customer()];
    const isLost = (): void => {
      throw new Error('lease lost');
    };

    const results = await Promise.allSettled([
      m.mirror.write([insertOf(lost)], isLost),
      m.mirror.write([insertOf(held)], () => undefined),
      m.mirror.write([insertOf(also)]),
    ]);

    expect(results).toEqual([
      { status: 'rejected', reason: new Error('lease lost') },
      { status: 'fulfilled', value: [{ kind: 'written' }] },
      { status: 'fulfilled', value: [{ kind: 'written' }] },
    ]);
    expect(await m.stored(lost.id)).toBeUndefined();
  });
});
