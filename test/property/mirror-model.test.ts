// The mirror in MongoDB against the one in memory, which was written from the port's documentation: after any history of writes both have
// given the same results and hold the same.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Head, Mirror, MirrorWrite, Observed, StripeId } from '../../src/sync/ports.js';
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
/** What a write is decided on: what is stored, what was stored before, or nothing. */
type Basis = 'stored' | 'before' | 'nothing';

/** A write without its guard. `again`: the last write of that id, sent once more. */
interface Planned {
  readonly kind: MirrorWrite['kind'] | 'again';
  readonly id: StripeId;
  readonly basis: Basis;
  readonly fields: object;
  readonly observed: Observed;
  readonly isRead: boolean;
  readonly keepsHash: boolean;
}

const anyWrite: fc.Arbitrary<Planned> = fc.record({
  kind: fc.constantFrom<Planned['kind']>(
    'put',
    'put',
    'merge',
    'merge',
    'confirm_deleted',
    'mark_deleted',
    'again',
  ),
  id: fc.constantFrom(...ids),
  basis: fc.constantFrom<Basis>('stored', 'stored', 'stored', 'before', 'nothing'),
  fields: anyFields,
  observed: fc.tuple(fc.nat(12), fc.nat(4)).map(([from, length]) => during(from, length)),
  isRead: fc.boolean(),
  keepsHash: fc.boolean(),
});

/** Makes writes of plans, on what a mirror has told of its objects so far. */
class Writer {
  readonly #heads = new Map<StripeId, readonly [Head | undefined, Head | undefined]>();
  readonly #last = new Map<StripeId, MirrorWrite>();
  #count = 0;

  async next(mirror: Mirror, plan: Planned): Promise<MirrorWrite | undefined> {
    const { kind, id } = plan;
    const head = (await mirror.headsOf([id])).get(id);
    const [before, last] = this.#heads.get(id) ?? [undefined, undefined];
    const former = head?.writeId === last?.writeId ? before : last;
    this.#heads.set(id, [former, head]);
    if (kind === 'again') return this.#last.get(id);
    const write = this.#write(plan, { stored: head, before: former, nothing: undefined }[plan.basis]);
    if (write) this.#last.set(id, write);
    return write;
  }

  #write(plan: Planned, basis: Head | undefined): MirrorWrite | undefined {
    const { kind, id, fields, observed, isRead, keepsHash } = plan;
    const object = { id, ...fields };
    const base = { id, writeId: `write ${(this.#count += 1)}`, basis };
    const told = [{ fields: Object.keys(fields), telling: observed }];
    switch (kind) {
      case 'put': {
        const hash = JSON.stringify(object);
        return { ...base, kind, object, hash, observed, told: [], source: isRead ? 'list' : 'retrieve' };
      }
      case 'merge':
        return { ...base, kind, fields: object, told, keepsHash, source: 'batch' };
      case 'confirm_deleted':
        return { ...base, kind, observed, source: 'retrieve' };
      case 'mark_deleted':
        return basis && { ...base, kind, basis, source: 'request' };
      case 'again':
        return undefined;
    }
  }
}

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
  const stored = [...(await mirror.storedOf(ids)).values()].map(({ head, fields }) => ({
    head: { ...head, writtenAt: undefined, seenAt: undefined },
    // The order of fields, too.
    fields: JSON.stringify(fields),
  }));
  return {
    heads: heads.sort((a, b) => (a.id < b.id ? -1 : 1)),
    stored: stored.sort((a, b) => (a.head.id < b.head.id ? -1 : 1)),
    withoutCreated: withoutCreated.sort(),
    suspects: [...(await mirror.suspects(ids))].sort(),
    live: await mirror.countLive(),
    proving: await mirror.samples(10),
    created: [...(await mirror.sampleCreated(10))].sort(),
  };
}

test('any history of writes has the same results and leaves the same', async () => {
  const { mirror, db } = await openMirror(freshDatabase());
  await fc.assert(
    fc.asyncProperty(anyHistory, async (history) => {
      await db.collection('stripe_customers').deleteMany({});
      const model = new MemoryMirror();
      const writer = new Writer();

      for (const plans of history) {
        const writes: MirrorWrite[] = [];
        for (const plan of plans) {
          const write = await writer.next(model, plan);
          if (write) writes.push(write);
        }
        expect(await mirror.write(writes)).toEqual(await model.write(writes));
        expect(await observe(mirror)).toEqual(await observe(model));
      }
    }),
    { numRuns: 40 },
  );
});
