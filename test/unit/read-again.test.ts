// A read that cannot be ordered is made again, after what is stored was found.
import { expect, test } from 'vitest';
import { applyReads, retrieveAndApply, toReads } from '../../src/sync/apply.js';
import type { Observed, Source, StripeId, StripeObject } from '../../src/sync/ports.js';
import { MemoryMirror } from '../support/memory-mirror.js';

const id = 'cus_1' as StripeId;
const named = (name: string): StripeObject => ({ id, object: 'customer', created: 1, name });
const during = (from: number, to: number): Observed => ({ from: new Date(from), to: new Date(to) });

const store = async (mirror: MemoryMirror, name: string, observed: Observed): Promise<void> => {
  const reads = toReads([named(name)], { observed, receivedAtMs: performance.now() }, 'list');
  await applyReads(mirror, reads, await mirror.headsOf([id]));
};

interface Answered {
  readonly name: string;
  readonly observed: Observed;
  /** Done while the call is on its way. */
  readonly meanwhile?: () => Promise<void>;
}

/** Stripe, as it answers one call after the other. */
function answering(answers: readonly Answered[]): Source {
  const left = [...answers];
  return {
    object: 'customer',
    livemode: false,
    apiVersion: 'v',
    testClocks: undefined,
    listsAtOnce: () => 1,
    list: () => Promise.reject(new Error('nothing is listed here')),
    retrieve: async () => {
      const answer = left.shift();
      if (!answer) throw new Error('one call too many');
      await answer.meanwhile?.();
      const { name, observed } = answer;
      return { kind: 'found', object: named(name), observed, receivedAtMs: performance.now() };
    },
  };
}

const options = { priority: 'small', signal: new AbortController().signal } as const;

test('it replaces what was found, whatever the times say', async () => {
  const mirror = new MemoryMirror();
  await store(mirror, 'X', during(100, 200));
  const source = answering([
    { name: 'Y', observed: during(150, 250) },
    { name: 'Y', observed: during(150, 250) },
  ]);

  expect(await retrieveAndApply(source, mirror, id, options)).toEqual({ id, outcome: 'updated' });
  expect(mirror.fieldsOf(id)).toMatchObject({ name: 'Y' });
});

test('it does not replace what another writer has stored since', async () => {
  const mirror = new MemoryMirror();
  await store(mirror, 'X', during(100, 200));
  const source = answering([
    { name: 'Y', observed: during(150, 250) },
    { name: 'Y', observed: during(300, 350), meanwhile: () => store(mirror, 'Z', during(400, 410)) },
  ]);

  expect(await retrieveAndApply(source, mirror, id, options)).toEqual({ id, outcome: 'stale' });
  expect(mirror.fieldsOf(id)).toMatchObject({ name: 'Z' });
});
