// A write is known by its name: what is stored tells whether it was applied, whether its acknowledgement was lost, another writer came
// between, or the process that began it is no more.
import type { mongo } from 'mongoose';
import { beforeAll, describe, expect, test } from 'vitest';
import { applyReads, toReads } from '../../src/sync/apply.js';
import { confirmDeleted, softDelete } from '../../src/sync/deletion.js';
import type { ItemResult } from '../../src/sync/outcome.js';
import type { Mirror, StripeObject, WriteSource } from '../../src/sync/ports.js';
import { freshDatabase } from '../support/database.js';
import {
  answered,
  insertedAs,
  mirrorCollection,
  openMirror,
  stripeId,
  takeBatch,
  type TestMirror,
  newId,
  whole,
} from '../support/mirror.js';
import { Life } from '../support/scan.js';

const database = freshDatabase();
let m: TestMirror;
let other: Mirror;

beforeAll(async () => {
  m = await openMirror(database);
  other = (await openMirror(database)).mirror;
});

const known = (id: string): Promise<unknown> => m.read(whole(id, { name: 'before' }), 1_000);

/** An answer of Stripe as of then. */
async function read(mirror: Mirror, object: StripeObject, from: number, source: WriteSource) {
  const reads = toReads([object], answered(from, from + 10), source);
  const { results } = await applyReads(mirror, reads, await mirror.headsOf([object.id]));
  return results;
}

const batch = async (mirror: Mirror, entry: object, place: number, at = 5_000) =>
  (await takeBatch(mirror, [entry], insertedAs(place, at))).items;

/** The mirror, with something that happens right before its first write is sent, and has been decided. */
function meanwhile(happens: () => Promise<unknown>): Mirror {
  let count = 0;
  return {
    ...m.mirror,
    write: async (writes, beforeSend) => {
      if ((count += 1) === 1) await happens();
      return m.mirror.write(writes, beforeSend);
    },
  };
}

test('an answer that becomes too old on its way to MongoDB is not written', async () => {
  const id = newId();
  await m.read(whole(id, { name: 'before' }), 1_000);
  const aged = { ...answered(2_000, 2_010), receivedAtMs: performance.now() - 29_500 };
  const reads = toReads([whole(id, { name: 'too old' })], aged, 'list');
  const heads = await m.mirror.headsOf([stripeId(id)]);
  await database.failCommand({
    failCommands: ['update'],
    namespace: `${database.name}.${mirrorCollection}`,
    blockConnection: true,
    blockTimeMS: 1_500,
    times: 1,
  });

  const { results, unsettled } = await applyReads(m.mirror, reads, heads);

  expect({ results, unsettled }).toMatchObject({ results: [], unsettled: [{ id, reason: 'too_old' }] });
  expect(await m.db.collection<{ _id: string }>(mirrorCollection).findOne({ _id: id })).toMatchObject({
    name: 'before',
  });
});

interface Write {
  readonly name: string;
  /** Whether the customer is stored before. */
  readonly onKnown: boolean;
  readonly work: (mirror: Mirror, id: string) => Promise<readonly ItemResult[]>;
  readonly outcome: ItemResult['outcome'];
}

const writes: readonly Write[] = [
  {
    name: 'a new customer of a list',
    onKnown: false,
    work: (mirror, id) => read(mirror, whole(id), 2_000, 'list'),
    outcome: 'created',
  },
  {
    name: 'a new customer of a read',
    onKnown: false,
    work: (mirror, id) => read(mirror, whole(id), 2_000, 'retrieve'),
    outcome: 'created',
  },
  {
    name: 'a changed customer',
    onKnown: true,
    work: (mirror, id) => read(mirror, whole(id, { name: 'after' }), 2_000, 'list'),
    outcome: 'updated',
  },
  {
    name: 'a new customer of a batch',
    onKnown: false,
    work: (mirror, id) => batch(mirror, whole(id), 1),
    outcome: 'created',
  },
  {
    name: 'a whole batch',
    onKnown: true,
    work: (mirror, id) => batch(mirror, whole(id, { name: 'after' }), 1),
    outcome: 'updated',
  },
  {
    name: 'a whole batch that tells nothing new',
    onKnown: true,
    work: (mirror, id) => batch(mirror, whole(id, { name: 'before' }), 1),
    outcome: 'unchanged',
  },
  {
    name: 'a part of nobody stored',
    onKnown: false,
    work: (mirror, id) => batch(mirror, { id, name: 'after' }, 1),
    outcome: 'created',
  },
  {
    name: 'a part',
    onKnown: true,
    work: (mirror, id) => batch(mirror, { id, name: 'after' }, 1),
    outcome: 'updated',
  },
  {
    name: 'a confirmed deletion',
    onKnown: true,
    work: async (mirror, id) => [await confirmDeleted(mirror, stripeId(id), answered(2_000, 2_010).observed)],
    outcome: 'deleted',
  },
  {
    name: 'a tombstone',
    onKnown: false,
    work: async (mirror, id) => [await confirmDeleted(mirror, stripeId(id), answered(2_000, 2_010).observed)],
    outcome: 'deleted',
  },
  {
    name: 'a mark of a request',
    onKnown: true,
    work: async (mirror, id) => (await softDelete(mirror, stripeId(id))).items,
    outcome: 'deleted',
  },
];

interface Named {
  readonly _sync: { readonly writeId: string };
}

/** The name of the write that a change tells of; undefined where the name has not changed. */
function nameOfWrite(change: mongo.ChangeStreamDocument): string | undefined {
  if ('fullDocument' in change) return (change.fullDocument as unknown as Named)._sync.writeId;
  const updated = 'updateDescription' in change ? change.updateDescription.updatedFields : undefined;
  const { _sync: sync, '_sync.writeId': name } = (updated ?? {}) as Partial<Named> & {
    '_sync.writeId'?: string;
  };
  return name ?? sync?.writeId;
}

describe('a write whose acknowledgement was lost', () => {
  test.each(writes)(
    'is found by its name, counts, and is no other write: $name',
    async ({ onKnown, work, outcome }) => {
      const id = newId();
      if (onKnown) await known(id);
      const stream = m.db.collection(mirrorCollection).watch();
      await stream.tryNext();
      // Applied, then answered with a write-concern error that the driver does not retry.
      await database.failCommand({
        failCommands: ['insert', 'update'],
        writeConcernError: { code: 64, errmsg: 'waited too long' },
        times: 2,
      });

      expect(await work(m.mirror, id)).toEqual([{ id, outcome }]);

      await m.db.collection<{ _id: string }>(mirrorCollection).insertOne({ _id: `end of ${id}` });
      const names = new Set<unknown>();
      for await (const change of stream) {
        if ('documentKey' in change && String(change.documentKey._id) === `end of ${id}`) break;
        names.add(nameOfWrite(change));
      }
      await stream.close();
      names.delete(undefined); // sent again, it may find itself and leave the same
      expect([...names]).toEqual([((await m.stored(id)) as Named)._sync.writeId]);
    },
  );

  test.each(writes)(
    'is sent again where it was cut off before: $name',
    async ({ onKnown, work, outcome }) => {
      const id = newId();
      if (onKnown) await known(id);
      await database.failCommand({ failCommands: ['insert', 'update'], closeConnection: true, times: 2 });

      expect(await work(m.mirror, id)).toEqual([{ id, outcome }]);

      expect(await m.stored(id)).toBeDefined();
    },
  );
});

describe('a write that another of the same time has come before', () => {
  test('is not taken for applied: a part of another field is merged into what is stored now', async () => {
    for (const before of [() => Promise.resolve(), known]) {
      const id = newId();
      await before(id);
      const mirror = meanwhile(() => batch(other, { id, email: 'j@x.com' }, 2));

      await batch(mirror, { id, name: 'Jane' }, 1);

      expect(await m.stored(id)).toMatchObject({ name: 'Jane', email: 'j@x.com' });
    }
  });

  test('is not taken for applied: the later one of two parts of one field stays', async () => {
    const id = newId();
    await known(id);

    const earlier = await batch(
      meanwhile(() => batch(other, { id, name: 'second' }, 2)),
      { id, name: 'first' },
      1,
    );
    const later = await batch(
      meanwhile(() => batch(other, { id, phone: 'first' }, 3)),
      { id, phone: 'second' },
      4,
    );

    expect(earlier).toEqual([{ id, outcome: 'stale', code: 'older_than_batch' }]);
    expect(later).toEqual([{ id, outcome: 'updated' }]);
    expect(await m.stored(id)).toMatchObject({ name: 'second', phone: 'second' });
  });

  test('is not taken for applied: the later one of two whole batches stays, also of a new customer', async () => {
    for (const before of [() => Promise.resolve(), known]) {
      const [first, second] = [newId(), newId()];
      await before(first);
      await before(second);

      await batch(
        meanwhile(() => batch(other, whole(first, { name: 'second' }), 2)),
        whole(first, { name: 'first' }),
        1,
      );
      await batch(
        meanwhile(() => batch(other, whole(second, { name: 'first' }), 1)),
        whole(second, { name: 'second' }),
        2,
      );

      expect(await m.stored(first)).toMatchObject({ name: 'second' });
      expect(await m.stored(second)).toMatchObject({ name: 'second' });
    }
  });

  test('is not taken for applied: an equal customer of another batch, which then gave way, does not count', async () => {
    const id = newId();
    await known(id);
    const mirror = meanwhile(async () => {
      await batch(other, whole(id, { name: 'X' }), 1);
      await batch(other, whole(id, { name: 'Y' }), 2);
    });

    expect(await batch(mirror, whole(id, { name: 'X' }), 3)).toEqual([{ id, outcome: 'updated' }]);

    expect(await m.stored(id)).toMatchObject({ name: 'X' });
  });

  test.each(writes.filter(({ outcome }) => outcome !== 'deleted'))(
    'revives nobody whose deletion was confirmed meanwhile: $name',
    async ({ onKnown, work }) => {
      const id = newId();
      if (onKnown) await known(id);
      const mirror = meanwhile(() => confirmDeleted(other, stripeId(id), answered(1_500, 1_510).observed));

      expect(await work(mirror, id)).toEqual([{ id, outcome: 'stale', code: 'deleted_in_stripe' }]);

      expect(await m.stored(id)).toMatchObject({ _sync: { deletedBy: 'stripe' } });
    },
  );

  test.each(writes.filter(({ onKnown }) => onKnown))(
    'keeps the mark that a request has set meanwhile: $name',
    async ({ work }) => {
      const id = newId();
      await known(id);

      await work(
        meanwhile(() => softDelete(other, stripeId(id))),
        id,
      );

      expect(await m.stored(id)).toMatchObject({
        _sync: { deletedAt: expect.any(Date) as Date, deletedBy: expect.any(String) as string },
      });
    },
  );
});

test('a batch whose process died half-way ends the same when another one works on it again', async () => {
  const ids = Array.from({ length: 700 }, newId);
  const [first, second, last] = [ids[0]!, ids[1]!, ids[699]!];
  const entries = [
    ...ids.map((id) => whole(id, { name: 'X' })),
    { id: first, phone: '1' },
    whole(second, { name: 'Y' }),
    { id: last, name: 'Y' },
    { id: last, name: 'X' },
  ];
  const told = insertedAs(10, 5_000);
  const life = new Life();
  const dying: Mirror = {
    ...m.mirror,
    write: async (given) => {
      const written = await m.mirror.write(given);
      life.end();
      return written;
    },
  };

  await expect(takeBatch(life.portOf(dying), entries, told)).rejects.toThrow('killed');
  // Between the two attempts others tell of later and of earlier.
  await batch(other, { id: first, name: 'later' }, 11);
  await batch(other, whole(second, { name: 'earlier' }), 9);
  await batch(other, { id: last, name: 'earlier', email: 'earlier' }, 9);
  const { failed, items } = await takeBatch(other, entries, told);

  expect(failed).toBe(0);
  expect(items.filter(({ outcome }) => outcome === 'created')).toHaveLength(199);
  expect(await m.stored(first)).toMatchObject({ name: 'later', phone: '1' });
  expect(await m.stored(second)).toMatchObject({ name: 'Y' });
  expect(await m.stored(last)).toMatchObject({ name: 'X' });
  expect(await m.stored(last)).not.toHaveProperty('email');
  const stored = await m.db.collection(mirrorCollection).countDocuments({ _id: { $in: ids as never[] } });
  expect(stored).toBe(700);
});
