import fc from 'fast-check';
import type { mongo } from 'mongoose';
import { beforeAll, describe, expect, it } from 'vitest';
import { applyReads, toReads, type WholeRead } from '../../src/sync/apply.js';
import { prepare } from '../../src/sync/canonical.js';
import { confirmDeleted, softDelete } from '../../src/sync/deletion.js';
import type { StripeObject } from '../../src/sync/ports.js';
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
  whole as customer,
} from '../support/mirror.js';

const database = freshDatabase();
let m: TestMirror;

beforeAll(async () => {
  m = await openMirror(database);
});

/** Reads as of 1,000 to 1,010 whose answers came half a minute ago. */
const thirtySecondsOld = (...objects: StripeObject[]): WholeRead[] =>
  toReads(objects, { ...answered(1_000, 1_010), receivedAtMs: performance.now() - 30_001 }, 'list');
const outcomeOf = ({ results, unsettled }: Awaited<ReturnType<TestMirror['read']>>): string | undefined =>
  results[0]?.outcome ?? (unsettled.length > 0 ? 'unsettled' : undefined);

/** Stripe confirms that the customer is deleted, in an answer as of then. */
const confirmed = (id: string, from: number) =>
  confirmDeleted(m.mirror, stripeId(id), answered(from, from + 10).observed);

/** What Stripe sent, out of the stored document. */
const stripePart = (document: mongo.Document | undefined): Record<string, unknown> => {
  const { _id, _sync, app, ...rest } = document ?? {};
  return rest;
};

describe('the mirror', () => {
  it('holds exactly what Stripe returned: empty objects, unknown fields, seconds, order and types', async () => {
    const golden = JSON.parse(
      String.raw`{"id":"cus_golden","object":"customer","created":1700000000,"address":null,"balance":-5,"metadata":{},
        "invoice_settings":{"custom_fields":null,"rendering_options":{}},"preferred_locales":[],"ratio":0.5,"big":9007199254740991,
        "field_of_tomorrow":{"deep":[{"a":[]},null,true]},"name":"Jörg 😀","_0":""}`,
    ) as StripeObject;

    await m.read(golden, 1_000);

    const stored = await m.stored('cus_golden');
    expect(stripePart(stored)).toStrictEqual({ ...golden });
    expect(JSON.stringify(stripePart(stored))).toBe(JSON.stringify(golden));
    expect(stored?.['_sync']).toMatchObject({
      source: 'list',
      livemode: false,
      apiVersion: '2026-10-28.endive',
    });
  });

  it('stores any metadata as data, never as paths or expressions', async () => {
    const text = fc.oneof(
      fc.constantFrom('$email', '$$ROOT', '$set', 'a.b', '', '__proto__', '$literal', '{"$gt":""}'),
      fc.string(),
    );
    const metadata = fc.dictionary(
      text.filter((key) => !key.includes('\0')),
      text,
      { maxKeys: 6, noNullPrototype: false },
    );
    await fc.assert(
      fc.asyncProperty(metadata, metadata, text, async (first, second, name) => {
        const id = newId();

        await m.read(customer(id, { metadata: first, name, email: 'jane@example.com' }), 1_000);
        const afterInsert = await m.stored(id);
        await m.read(customer(id, { metadata: second, name, again: true }), 2_000);
        const afterReplace = await m.stored(id);

        expect(stripePart(afterInsert)).toEqual(
          prepare(customer(id, { metadata: first, name, email: 'jane@example.com' })).object,
        );
        expect(stripePart(afterReplace)).toEqual(
          prepare(customer(id, { metadata: second, name, again: true })).object,
        );
      }),
      { numRuns: 60 },
    );
  });

  it('settles on a text with a lone surrogate: the second read writes nothing', async () => {
    const id = newId();
    const poison = customer(id, { name: 'a\ud800b', metadata: { '\udc00': 'x' } });

    expect(outcomeOf(await m.read(poison, 1_000))).toBe('created');
    const before = await m.stored(id);

    expect(outcomeOf(await m.read(poison, 2_000))).toBe('unchanged');
    expect(await m.stored(id)).toStrictEqual(before);
  });

  it('quarantines what MongoDB cannot hold, and stores the other 99 of the page', async () => {
    const ids = Array.from({ length: 100 }, newId);
    const poisoned = ids.map((id, index) =>
      customer(id, index === 50 ? { blob: 'x'.repeat(17 * 1024 * 1024) } : {}),
    );

    const { results } = await applyReads(
      m.mirror,
      toReads(poisoned, answered(1_000, 1_010), 'list'),
      new Map(),
    );

    expect(results.filter(({ outcome }) => outcome === 'created')).toHaveLength(99);
    expect(results.filter(({ outcome }) => outcome === 'failed')).toEqual([
      expect.objectContaining({ id: ids[50], code: 'document_too_large' }),
    ]);
    expect(await m.mirror.headsOf(ids.map(stripeId))).toHaveProperty('size', 99);
  });

  it('reports a document that an index of the user refuses, and stores the others', async () => {
    const documents = m.db.collection(mirrorCollection);
    await documents.createIndexes([
      { key: { unique_for_test: 1 }, unique: true, sparse: true, name: 'of_the_user' },
    ]);
    const [first, second, third] = [newId(), newId(), newId()];

    await m.read(customer(first, { unique_for_test: 1 }), 1_000);
    const { results } = await applyReads(
      m.mirror,
      toReads([customer(second, { unique_for_test: 1 }), customer(third)], answered(1_000, 1_010), 'list'),
      new Map(),
    );
    await documents.dropIndex('of_the_user');

    expect(results).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ id: second, outcome: 'failed', code: 'write_rejected' }),
        { id: third, outcome: 'created' },
      ]),
    );
  });

  it('leaves what belongs to the application alone, through replacing, merging and deleting', async () => {
    const id = newId();
    const documents = m.db.collection<{ _id: string }>(mirrorCollection);
    await m.read(customer(id, { name: 'a' }), 1_000);
    await documents.updateOne({ _id: id }, { $set: { app: { plan: { $x: 1 } } } });

    await m.read(customer(id, { name: 'b' }), 2_000);
    await takeBatch(m.mirror, [{ id, name: 'c' }], insertedAs(1, 3_000));
    await confirmed(id, 4_000);

    expect(await m.stored(id)).toMatchObject({
      name: 'c',
      app: { plan: { $x: 1 } },
      _sync: { deletedBy: 'stripe' },
    });
  });

  it('never lets a late answer overwrite a newer one', async () => {
    const id = newId();
    await m.read(customer(id, { name: 'newer' }), 2_000, 2_100);

    expect(outcomeOf(await m.read(customer(id, { name: 'older' }), 1_000, 2_000))).toBe('stale');
    expect(outcomeOf(await m.read(customer(id, { name: 'unknown' }), 1_900, 2_050))).toBe('unsettled');

    expect(await m.stored(id)).toMatchObject({ name: 'newer' });
  });

  it('reads again what was answered more than 30 seconds before it is written', async () => {
    const id = newId();
    const applied = await applyReads(m.mirror, thirtySecondsOld(customer(id)), new Map());

    expect(applied).toEqual({ results: [], unsettled: [{ id, reason: 'too_old', head: undefined }] });
    expect(await m.stored(id)).toBeUndefined();
  });

  it('tells what a batch has told from what Stripe returned, as a proof of the account', async () => {
    const [listed, claimed] = [newId(), newId()];
    await m.read(customer(listed), 1_000);
    const [read] = toReads([customer(claimed)], answered(1_000, 1_010), 'batch');
    await applyReads(m.mirror, read ? [read] : [], new Map());

    const samples = await m.mirror.samples(1_000);

    expect(samples.read.map(({ id }) => id)).toContain(listed);
    expect(samples.read.map(({ id }) => id)).not.toContain(claimed);
    expect(samples.told.map(({ id }) => id)).toContain(claimed);
  });

  it('reads nothing again because of its age that need not be written', async () => {
    const [same, late] = [newId(), newId()];
    await m.read(customer(same), 1_000);
    await m.read(customer(late, { name: 'newer' }), 2_000);
    const reads = thirtySecondsOld(customer(same), customer(late));

    const applied = await applyReads(
      m.mirror,
      reads,
      await m.mirror.headsOf([stripeId(same), stripeId(late)]),
    );

    expect(applied.unsettled).toEqual([]);
    expect(applied.results.map(({ outcome }) => outcome)).toEqual(['unchanged', 'stale']);
  });

  it('counts a stale write of fifty at once as stale, not as a fault, and keeps the newest', async () => {
    const id = newId();
    const writers = Array.from({ length: 50 }, (_, index) =>
      m.read(customer(id, { name: `n${index}` }), 1_000 + index * 100, 1_050 + index * 100),
    );

    const outcomes = (await Promise.all(writers)).map(outcomeOf);

    expect(outcomes.filter((outcome) => outcome === 'created')).toHaveLength(1);
    expect(new Set(outcomes)).not.toContain('failed');
    expect(new Set(outcomes)).not.toContain('unsettled');
    expect(await m.stored(id)).toMatchObject({ name: 'n49' });
  });

  it('never revives a customer whose deletion Stripe has confirmed', async () => {
    const id = newId();
    await m.read(customer(id, { name: 'known' }), 1_000);
    await confirmed(id, 2_000);

    const late = await m.read(customer(id, { name: 'late' }), 9_000);

    expect(late.results).toEqual([{ id, outcome: 'stale', code: 'deleted_in_stripe' }]);
    expect(await m.stored(id)).toMatchObject({
      name: 'known',
      _sync: { deletedBy: 'stripe', deletedAt: expect.any(Date) as Date },
    });
  });

  it('stores a tombstone for a deleted customer it never had, so that late data cannot create it', async () => {
    const id = newId();
    await confirmed(id, 2_000);

    expect(outcomeOf(await m.read(customer(id), 9_000))).toBe('stale');
    expect(stripePart(await m.stored(id))).toEqual({ id, object: 'customer', deleted: true });
  });

  it('keeps a mark of a request while fields go on being refreshed, until Stripe confirms', async () => {
    const id = newId();
    await m.read(customer(id, { name: 'a' }), 1_000);

    const first = await softDelete(m.mirror, stripeId(id));
    const second = await softDelete(m.mirror, stripeId(id));
    await m.read(customer(id, { name: 'b' }), 2_000);

    expect([first.deleted, second.unchanged]).toEqual([1, 1]);
    expect(await m.stored(id)).toMatchObject({
      name: 'b',
      _sync: { deletedBy: 'request', deletedAt: expect.any(Date) as Date },
    });

    await confirmed(id, 3_000);
    expect(await m.stored(id)).toMatchObject({ name: 'b', _sync: { deletedBy: 'stripe' } });
  });

  it('writes nothing for a soft delete of a customer that it does not have', async () => {
    const result = await softDelete(m.mirror, stripeId('cus_unknown'));

    expect(result.items).toEqual([
      expect.objectContaining({ id: 'cus_unknown', outcome: 'failed', code: 'not_found' }),
    ]);
    expect(await m.stored('cus_unknown')).toBeUndefined();
  });

  it('shows the living ones alone in its view', async () => {
    const [alive, gone] = [newId(), newId()];
    await m.read(customer(alive), 1_000);
    await m.read(customer(gone), 1_000);
    await softDelete(m.mirror, stripeId(gone));

    const shown = await m.db
      .collection<{ _id: string }>(`${mirrorCollection}_live`)
      .find({ _id: { $in: [alive, gone] } })
      .toArray();

    expect(shown.map(({ _id }) => _id)).toEqual([alive]);
  });

  it('reads heads of an interval from its index alone', async () => {
    const documents = m.db.collection(mirrorCollection);
    const projection = { _id: 1, created: 1, '_sync.hash': 1, '_sync.deletedBy': 1 };

    const plan = await documents
      .find({ created: { $gte: 0 } }, { projection, hint: 'heads_by_created' })
      .explain('executionStats');

    expect(plan).toMatchObject({ executionStats: { totalDocsExamined: 0 } });
  });

  it('finds its own work again when the acknowledgement of a write was lost', async () => {
    const [fresh, known] = [newId(), newId()];
    await m.read(customer(known, { name: 'a' }), 1_000);
    // Applied, then answered with a write-concern error that the driver does not retry.
    await database.failCommand({
      failCommands: ['insert', 'update'],
      writeConcernError: { code: 64, errmsg: 'waited too long' },
      times: 2,
    });
    const reads = toReads([customer(fresh), customer(known, { name: 'b' })], answered(2_000, 2_010), 'list');

    const { results } = await applyReads(m.mirror, reads, await m.mirror.headsOf(reads.map(({ id }) => id)));

    expect(results).toEqual([
      { id: fresh, outcome: 'created' },
      { id: known, outcome: 'updated' },
    ]);
  });
});
