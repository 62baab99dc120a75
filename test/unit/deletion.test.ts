// Deletions among other writers: what is reported as deleted is stored, whatever comes between.
import { describe, expect, test } from 'vitest';
import { confirmDeleted, softDelete } from '../../src/sync/deletion.js';
import type { Head, Mirror, MirrorWrite, Observed, StripeId } from '../../src/sync/ports.js';
import { newWriteId } from '../../src/sync/writes.js';
import { MemoryMirror } from '../support/memory-mirror.js';

const id = 'cus_1' as StripeId;
const at = (seconds: number): Observed => ({
  from: new Date(seconds * 1_000),
  to: new Date(seconds * 1_000 + 5),
});

/** The write of a read, over what is stored. */
const putOf = (basis: Head | undefined, observed: Observed): MirrorWrite => {
  const writeId = newWriteId();
  const object = { id, object: 'customer', created: 1, name: writeId };
  const hash = `hash ${writeId}`;
  return { kind: 'put', id, writeId, basis, object, hash, observed, told: [], source: 'list' };
};

/** Another writer comes between so many times: the write is refused, and the object has changed. */
function contended(mirror: MemoryMirror, times: number): Mirror {
  let left = times;
  return {
    heads: (range, signal) => mirror.heads(range, signal),
    headsOf: (ids) => mirror.headsOf(ids),
    storedOf: (ids) => mirror.storedOf(ids),
    refusalOf: (object) => mirror.refusalOf(object),
    withoutCreated: (signal) => mirror.withoutCreated(signal),
    suspects: (ids) => mirror.suspects(ids),
    countLive: () => mirror.countLive(),
    samples: (count, after) => mirror.samples(count, after),
    sampleCreated: (count) => mirror.sampleCreated(count),
    write: async (writes) => {
      if (left === 0) return mirror.write(writes);
      left -= 1;
      const head = (await mirror.headsOf([id])).get(id);
      await mirror.write([putOf(head, at(100 + times - left))]);
      // Decided before that: its basis is stored no more.
      return mirror.write(writes);
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
    await mirror.write([putOf(undefined, at(1))]);

    const result = await softDelete(contended(mirror, 3), id);

    expect(result).toMatchObject({ deleted: 1, unchanged: 0 });
    expect((await mirror.headsOf([id])).get(id)?.deletedBy).toBe('request');
  });
});
