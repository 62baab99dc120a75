// What a reset of the binding clears, by the ids of the documents.
import { expect, test } from 'vitest';
import { atReset, clearedAtReset, stateIds } from '../../src/mongo/sync-state.js';

/** Ids as the owners of the documents make them, also of a kind of object that is not mirrored yet. */
const examples: Readonly<Record<keyof typeof stateIds, readonly string[]>> = {
  binding: [stateIds.binding],
  rateLimiter: [stateIds.rateLimiter],
  scanLease: [stateIds.scanLease],
  scan: [stateIds.scan('customer'), stateIds.scan('invoice')],
  scanCompleted: [stateIds.scanCompleted('customer'), stateIds.scanCompleted('invoice')],
  scanLeftOut: [stateIds.scanLeftOut('customer'), stateIds.scanLeftOut('invoice')],
  scanHeld: [stateIds.scanHeld('customer')],
  scanCandidates: [
    `${stateIds.scanCandidates('customer', 'scan-1')}6b06`,
    `${stateIds.scanCandidates('invoice')}x`,
  ],
  absent: [stateIds.absent('customer', 'cus_1'), stateIds.absent('customer', 'scan-lease:customer')],
  schedule: [stateIds.schedule('syncAll'), stateIds.schedule('scan:customer')],
  insertionOrder: [stateIds.insertionOrder],
  requestsValidator: [stateIds.requestsValidator],
  ownership: ['ownership'],
  replica: [stateIds.replica('pod:1:ab'), stateIds.replica('absent:1:ab')],
};

test.each(Object.keys(atReset) as (keyof typeof atReset)[])(
  '%s is cleared or kept as its line says',
  (name) => {
    const conditions = clearedAtReset().$or as { _id: string | RegExp }[];
    const isCleared = (id: string): boolean =>
      conditions.some(({ _id }) => (typeof _id === 'string' ? _id === id : _id.test(id)));

    expect(examples[name].map(isCleared)).toEqual(examples[name].map(() => atReset[name] === 'cleared'));
  },
);
