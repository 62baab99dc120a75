// During a rollout replicas of the former version write beside those of this one. It named no write and knew no places of batches: its
// documents are handled by every kind of write, and what it writes into ours loses nothing.
import { beforeAll, describe, expect, test } from 'vitest';
import { applyReads, toReads } from '../../src/sync/apply.js';
import { prepare } from '../../src/sync/canonical.js';
import { confirmDeleted, softDelete } from '../../src/sync/deletion.js';
import type { ItemResult } from '../../src/sync/outcome.js';
import type { Mirror } from '../../src/sync/ports.js';
import { freshDatabase } from '../support/database.js';
import {
  answered,
  datedAs,
  mirrorCollection,
  openMirror,
  stripeId,
  takeBatch,
  type TestMirror,
  newId,
  whole,
} from '../support/mirror.js';

const database = freshDatabase();
let m: TestMirror;
let other: Mirror;

beforeAll(async () => {
  m = await openMirror(database);
  other = (await openMirror(database)).mirror;
});

const during = (from: number, to: number) => ({ from: new Date(from), to: new Date(to) });
const documents = () => m.db.collection<{ _id: string }>(mirrorCollection);

const stampOf = (from: number, to: number, source: string) => ({
  observed: during(from, to),
  apiVersion: '2026-10-28.endive',
  livemode: false,
  source,
});
const marks = { deletedAt: '$_sync.deletedAt', deletedBy: '$_sync.deletedBy' };
const observedBefore = (id: string, from: number): object => ({
  _id: id,
  '_sync.deletedBy': { $ne: 'stripe' },
  $or: [{ '_sync.observed.to': { $lte: new Date(from) } }, { '_sync.observed.to': { $exists: false } }],
});

/** The former version's operations, as it sent them. */
const former = {
  insert: (id: string, fields: object, from = 1_000) => {
    const { object, hash } = prepare(whole(id, fields));
    const _sync = { ...stampOf(from, from + 10, 'list'), hash, writtenAt: new Date(from + 10) };
    return documents().insertOne({ ...object, _id: id, _sync } as { _id: string });
  },
  replace: (id: string, fields: object, from: number) => {
    const { object, hash } = prepare(whole(id, fields));
    const stamp = { $literal: { ...stampOf(from, from + 10, 'list'), hash } };
    const _sync = { $mergeObjects: [stamp, { writtenAt: '$$NOW' }, marks] };
    return documents().updateOne(observedBefore(id, from), [
      { $replaceWith: { $mergeObjects: [{ $literal: { ...object, _id: id } }, { app: '$app', _sync }] } },
    ]);
  },
  merge: (id: string, fields: object, at: number) => {
    const merged = { $mergeObjects: ['$$ROOT', { $literal: { ...fields, id } }] };
    const stamp = { $literal: stampOf(at, at, 'batch') };
    const _sync = { $mergeObjects: [stamp, { writtenAt: '$$NOW' }, marks] };
    const isStored = { $and: [{ $ne: [{ $type: '$_sync' }, 'missing'] }, { $eq: [merged, '$$ROOT'] }] };
    const stage = { $cond: [isStored, '$$ROOT', { $mergeObjects: [merged, { _sync }] }] };
    return documents().updateOne(observedBefore(id, at), [{ $replaceWith: stage }], { upsert: true });
  },
  confirm: (id: string, from: number) => {
    const deletion = { writtenAt: '$$NOW', deletedAt: '$$NOW', deletedBy: 'stripe' };
    const stamp = { $literal: stampOf(from, from + 10, 'retrieve') };
    const tombstone = { $literal: { _id: id, id, object: 'customer', deleted: true } };
    const isUnknown = { $eq: [{ $type: '$_sync' }, 'missing'] };
    const fields = { $cond: [isUnknown, { $mergeObjects: [tombstone, '$$ROOT'] }, '$$ROOT'] };
    const _sync = { $mergeObjects: ['$_sync', stamp, deletion] };
    return documents().updateOne(
      { _id: id, '_sync.deletedBy': { $ne: 'stripe' } },
      [{ $replaceWith: { $mergeObjects: [fields, { _sync }] } }],
      { upsert: true },
    );
  },
  mark: (id: string) =>
    documents().updateOne({ _id: id, '_sync.deletedAt': { $exists: false } }, [
      {
        $set: { '_sync.deletedAt': '$$NOW', '_sync.deletedBy': 'request', '_sync.writtenAt': '$$NOW' },
      },
    ]),
};

let place = 0;
const batch = async (mirror: Mirror, entry: object, at: number) =>
  (await takeBatch(mirror, [entry], datedAs((place += 1), at))).items;

/** The writes of this version, each told at the given time. */
const writes = {
  read: async (mirror: Mirror, id: string, at: number) => {
    const reads = toReads([whole(id, { name: 'new' })], answered(at, at + 10), 'list');
    const { results, unsettled } = await applyReads(mirror, reads, await mirror.headsOf([stripeId(id)]));
    expect(unsettled).toEqual([]);
    return results;
  },
  'whole batch': (mirror: Mirror, id: string, at: number) => batch(mirror, whole(id, { name: 'new' }), at),
  part: (mirror: Mirror, id: string, at: number) => batch(mirror, { id, name: 'new' }, at),
  confirmation: async (mirror: Mirror, id: string, at: number) => [
    await confirmDeleted(mirror, stripeId(id), during(at, at + 10)),
  ],
  mark: async (mirror: Mirror, id: string) => (await softDelete(mirror, stripeId(id))).items,
} satisfies Record<string, (mirror: Mirror, id: string, at: number) => Promise<readonly ItemResult[]>>;

type Kind = keyof typeof writes;
const kinds = Object.keys(writes) as Kind[];
const telling = ['read', 'whole batch', 'part'] as const satisfies readonly Kind[];

/** The documents that a write may meet, all with name and phone as of 1,000: of the former version, and ours. */
const before: Readonly<Record<string, (id: string) => Promise<unknown>>> = {
  'that it inserted': (id) => former.insert(id, { name: 'old', phone: '1' }),
  'that it replaced': async (id) => {
    await former.insert(id, { name: 'older' }, 500);
    await former.replace(id, { name: 'old', phone: '1' }, 1_000);
  },
  'that it merged': async (id) => {
    await former.insert(id, { name: 'old' }, 500);
    await former.merge(id, { phone: '1' }, 1_000);
  },
  'of ours that a read wrote': (id) => m.read(whole(id, { name: 'old', phone: '1' }), 1_000),
  'of ours that a batch wrote': (id) => batch(m.mirror, whole(id, { name: 'old', phone: '1' }), 1_000),
  'of ours with parts': async (id) => {
    await m.read(whole(id, { name: 'old', phone: '0' }), 500);
    await batch(m.mirror, { id, phone: '1' }, 1_000);
  },
};
const documentsBefore = Object.keys(before);

/** The mirror, with something that happens right before its first write is sent, and has been decided. */
function meanwhile(happens: () => Promise<unknown>): Mirror {
  let count = 0;
  return {
    ...m.mirror,
    write: async (given, beforeSend) => {
      if ((count += 1) === 1) await happens();
      return m.mirror.write(given, beforeSend);
    },
  };
}

describe.each(documentsBefore.slice(0, 3))('a document of the former version %s', (name) => {
  test.each(kinds)('takes a later write: %s', async (kind) => {
    const id = newId();
    await before[name]!(id);

    const [result] = await writes[kind](m.mirror, id, 2_000);

    const isDeletion = kind === 'confirmation' || kind === 'mark';
    expect(result).toEqual({ id, outcome: isDeletion ? 'deleted' : 'updated' });
    expect(await m.stored(id)).toMatchObject({
      name: isDeletion ? 'old' : 'new',
      ...((isDeletion || kind === 'part') && { phone: '1' }),
      _sync: { writeId: expect.any(String) as string },
    });
  });

  test.each(telling)('refuses an earlier one: %s', async (kind) => {
    const id = newId();
    await before[name]!(id);
    const stored = await m.stored(id);

    const [result] = await writes[kind](m.mirror, id, 900);

    expect(result).toMatchObject({ id, outcome: 'stale' });
    expect(await m.stored(id)).toEqual(stored);
  });

  test.each(telling)('that it confirmed as deleted stays so: %s', async (kind) => {
    const id = newId();
    await before[name]!(id);
    await former.confirm(id, 1_500);
    const stored = await m.stored(id);

    expect(await writes[kind](m.mirror, id, 2_000)).toEqual([
      { id, outcome: 'stale', code: 'deleted_in_stripe' },
    ]);

    expect(await m.stored(id)).toEqual(stored);
  });

  test('takes the parts of two replicas at once', async () => {
    const id = newId();
    await before[name]!(id);

    await batch(
      meanwhile(() => batch(other, { id, email: 'new' }, 2_000)),
      { id, name: 'new' },
      2_000,
    );

    expect(await m.stored(id)).toMatchObject({ name: 'new', email: 'new', phone: '1' });
  });
});

describe.each(documentsBefore)('a document %s', (name) => {
  test.each(kinds)('keeps the mark that the former version sets as it is written: %s', async (kind) => {
    const id = newId();
    await before[name]!(id);

    await writes[kind](
      meanwhile(() => former.mark(id)),
      id,
      2_000,
    );

    const deletedBy = kind === 'confirmation' ? 'stripe' : 'request';
    expect(await m.stored(id)).toMatchObject({ _sync: { deletedBy, deletedAt: expect.any(Date) as Date } });
  });

  test.each(kinds)(
    'stays deleted where the former version confirms it as it is written: %s',
    async (kind) => {
      const id = newId();
      await before[name]!(id);

      const [result] = await writes[kind](
        meanwhile(() => former.confirm(id, 1_500)),
        id,
        2_000,
      );

      expect(['stale', 'unchanged']).toContain(result?.outcome);
      expect(await m.stored(id)).toMatchObject({ name: 'old', _sync: { deletedBy: 'stripe' } });
    },
  );

  test.each(telling)(
    'loses no part of the former version that is merged as it is written: %s',
    async (kind) => {
      const id = newId();
      await before[name]!(id);

      const [earlier] = await writes[kind](
        meanwhile(() => former.merge(id, { email: 'later' }, 3_000)),
        id,
        2_000,
      );
      const afterEarlier = await m.stored(id);
      const [later] = await writes.part(
        meanwhile(() => former.merge(id, { address: 'later' }, 4_000)),
        id,
        5_000,
      );

      expect(earlier).toMatchObject({ outcome: 'stale' });
      expect(afterEarlier).toMatchObject({ name: 'old', phone: '1', email: 'later' });
      expect(later).toEqual({ id, outcome: 'updated' });
      expect(await m.stored(id)).toMatchObject({ name: 'new', phone: '1', email: 'later', address: 'later' });
    },
  );

  test.each(telling)(
    'does not go back where the former version replaces it as it is written: %s',
    async (kind) => {
      const id = newId();
      await before[name]!(id);

      const [earlier] = await writes[kind](
        meanwhile(() => former.replace(id, { name: 'of the former' }, 3_000)),
        id,
        2_000,
      );

      expect(earlier).toMatchObject({ outcome: 'stale' });
      expect(await m.stored(id)).toMatchObject({ name: 'of the former' });
      const [later] = await writes[kind](m.mirror, id, 4_000);
      expect(later).toEqual({ id, outcome: 'updated' });
      expect(await m.stored(id)).toMatchObject({ name: 'new' });
    },
  );
});

describe.each(documentsBefore.slice(3))('a document %s', (name) => {
  test('keeps all else when the former version merges into it, and takes what is later from either', async () => {
    const id = newId();
    await before[name]!(id);
    await documents().updateOne({ _id: id }, { $set: { app: 'theirs' } });

    await former.merge(id, { email: 'former' }, 2_000);
    expect(await m.stored(id)).toMatchObject({ name: 'old', phone: '1', email: 'former', app: 'theirs' });
    expect(await batch(m.mirror, { id, name: 'early' }, 1_500)).toMatchObject([{ outcome: 'stale' }]);
    await batch(m.mirror, { id, name: 'new' }, 3_000);

    const expected = { name: 'new', phone: '1', email: 'former', app: 'theirs' };
    expect(await m.stored(id)).toMatchObject(expected);
  });

  test.each(telling)('that the former version marks keeps the mark: %s', async (kind) => {
    const id = newId();
    await before[name]!(id);
    await former.mark(id);

    expect(await writes[kind](m.mirror, id, 2_000)).toEqual([{ id, outcome: 'updated' }]);

    expect(await m.stored(id)).toMatchObject({ name: 'new', _sync: { deletedBy: 'request' } });
    expect(await softDelete(m.mirror, stripeId(id))).toMatchObject({ unchanged: 1 });
  });
});

test('nobody is created twice by the two versions at once, and what comes later wins', async () => {
  for (const kind of telling) {
    const id = newId();

    const [result] = await writes[kind](
      meanwhile(() => former.insert(id, { name: 'former', phone: '1' }, 1_000)),
      id,
      2_000,
    );

    expect(result).toEqual({ id, outcome: 'updated' });
    expect(await m.stored(id)).toMatchObject({ name: 'new' });
  }
});
