// Deletions among other writers: what is reported as deleted is stored, whatever comes between.
import { describe, expect, test } from 'vitest';
import { confirmDeleted, softDelete } from '../../src/sync/deletion.js';
import type { Mirror, Observed, StripeId } from '../../src/sync/ports.js';
import { MemoryMirror } from '../support/memory-mirror.js';

const id = 'cus_1' as StripeId;
const at = (seconds: number): Observed => ({
  from: new Date(seconds * 1_000),
  to: new Date(seconds * 1_000 + 5),
});

/** Another writer comes between so many times: the write is refused, and the object has changed. */
function contended(mirror: MemoryMirror, times: number): Mirror {
  let left = times;
  return {
    heads: (range, signal) => mirror.heads(range, signal),
    headsOf: (ids) => mirror.headsOf(ids),
    withoutCreated: (signal) => mirror.withoutCreated(signal),
    suspects: (ids) => mirror.suspects(ids),
    countLive: () => mirror.countLive(),
    samples: (count, after) => mirror.samples(count, after),
    sampleCreated: (count) => mirror.sampleCreated(count),
    write: async (writes) => {
      if (left === 0) return mirror.write(writes);
      left -= 1;
      const observed = at(100 + times - left);
      const object = { id, object: 'customer', created: 1, name: `Jane ${left}` };
      const known = (await mirror.headsOf([id])).has(id);
      await mirror.write([
        { kind: known ? 'replace' : 'insert', id, object, hash: `hash ${left}`, observed, source: 'list' },
      ]);
      return writes.map(() => ({ kind: 'conflict' }) as const);
    },
  };
}

describe('a confirmed deletion', () => {
  test.each([0, 1, 3])('is stored when other writers come between %d times', async (times) => {
    const mirror = new MemoryMirror();

    const result = await confirmDeleted(contended(mirror, times), id, at(10));

    expect(result).toEqual({ id, outcome: 'deleted' });
    expect((await mirror.headsOf([id])).get(id)?.deletedBy).toBe('stripe');
  });

  test('that cannot be stored is a fault that is tried again, and not a success', async () => {
    const mirror = new MemoryMirror();

    await expect(confirmDeleted(contended(mirror, 1_000), id, at(10))).rejects.toMatchObject({
      code: 'unsettled',
      kind: 'retryable',
    });
    expect((await mirror.headsOf([id])).get(id)?.deletedBy).toBeUndefined();
  });

  test('that another writer has stored meanwhile is found stored', async () => {
    const mirror = new MemoryMirror();
    await confirmDeleted(mirror, id, at(10));

    expect(await confirmDeleted(mirror, id, at(11))).toEqual({ id, outcome: 'unchanged' });
  });
});

describe('a mark of a request', () => {
  test('is stored when other writers come between', async () => {
    const mirror = new MemoryMirror();
    const object = { id, object: 'customer', created: 1 };
    await mirror.write([{ kind: 'insert', id, object, hash: 'hash', observed: at(1), source: 'list' }]);

    const result = await softDelete(contended(mirror, 3), id, at(200));

    expect(result).toMatchObject({ deleted: 1, unchanged: 0 });
    expect((await mirror.headsOf([id])).get(id)?.deletedBy).toBe('request');
  });
});
