// The mirror in MongoDB against the one in memory, which was written from the port's documentation: after any history of writes both have
// given the same results and hold the same.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Mirror, MirrorWrite, Observed, StripeId } from '../../src/sync/ports.js';
import { freshDatabase } from '../support/database.js';
import { MemoryMirror } from '../support/memory-mirror.js';
import { openMirror } from '../support/mirror.js';

const ids = ['cus_1', 'cus_2', 'cus_3'] as StripeId[];
const during = (from: number, length: number): Observed => ({
  from: new Date(1_000 + from),
  to: new Date(1_000 + from + length),
});

const anyFields = fc.record(
  {
    name: fc.constantFrom('a', 'b', null),
    metadata: fc.constantFrom({}, { a: '1' }, { b: '1', a: '1' }),
    created: fc.constantFrom(10, 20, 30),
    test_clock: fc.constantFrom(null, 'clock_1'),
  },
  { requiredKeys: [] },
);
/** Few moments and few texts, so that writes meet in every way, the same one sent twice included. */
const anyWrite: fc.Arbitrary<MirrorWrite> = fc
  .record({
    kind: fc.constantFrom<MirrorWrite['kind']>(
      'insert',
      'replace',
      'replace',
      'merge',
      'merge',
      'confirm_deleted',
      'mark_deleted',
    ),
    id: fc.constantFrom(...ids),
    fields: anyFields,
    from: fc.nat(12),
    length: fc.nat(4),
    isRead: fc.boolean(),
  })
  .map(({ kind, id, fields, from, length, isRead }): MirrorWrite => {
    const object = { id, ...fields };
    const base = { id, observed: during(from, kind === 'merge' ? 0 : length) };
    const hash = JSON.stringify(object);
    if (kind === 'merge') return { ...base, kind, fields: object, source: 'batch' };
    if (kind === 'insert' || kind === 'replace') {
      return { ...base, kind, object, hash, source: isRead ? 'list' : 'batch' };
    }
    return { ...base, kind, source: kind === 'mark_deleted' ? 'request' : 'retrieve' };
  });
/** At most one write an id in one call. */
const anyHistory = fc.array(fc.uniqueArray(anyWrite, { maxLength: 3, selector: ({ id }) => id }), {
  minLength: 1,
  maxLength: 12,
});

const { signal } = new AbortController();

/** Everything that the port tells of what is stored. */
async function observe(mirror: Mirror): Promise<object> {
  const heads = [];
  for await (const batch of mirror.heads({ gte: 15 }, signal)) heads.push(...batch);
  const withoutCreated = [];
  for await (const id of mirror.withoutCreated(signal)) withoutCreated.push(id);
  return {
    heads: heads.sort((a, b) => (a.id < b.id ? -1 : 1)),
    headsOf: [...(await mirror.headsOf(ids)).values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
    withoutCreated: withoutCreated.sort(),
    suspects: [...(await mirror.suspects(ids))].sort(),
    live: await mirror.countLive(),
    proving: await mirror.samples(10),
    created: [...(await mirror.sampleCreated(10))].sort(),
  };
}

test('any history of writes has the same results and leaves the same', async () => {
  const { mirror, db, stored } = await openMirror(freshDatabase());
  await fc.assert(
    fc.asyncProperty(anyHistory, async (history) => {
      await db.collection('stripe_customers').deleteMany({});
      const model = new MemoryMirror();

      for (const writes of history) {
        expect(await mirror.write(writes)).toEqual(await model.write(writes));
        expect(await observe(mirror)).toEqual(await observe(model));
      }

      for (const id of ids) {
        const { _id, _sync, ...fields } = (await stored(id)) ?? {};
        expect(JSON.stringify(fields)).toBe(JSON.stringify(model.fieldsOf(id) ?? {}));
      }
    }),
    { numRuns: 40 },
  );
});
