// Names of writes: which of them a call of this process knew of.
import { expect, test } from 'vitest';
import { isOwnUntil, newWriteId, writesSoFar } from '../../src/sync/writes.js';

test('every write before a call is known to it, the last one too, and none after it', () => {
  const [first, last] = [newWriteId(), newWriteId()];
  const before = writesSoFar();
  const since = newWriteId();

  expect([first, last, since].map((name) => isOwnUntil(name, before))).toEqual([true, true, false]);
});

test('no write of another process is, nor one without a name', () => {
  expect(isOwnUntil('AAAAAAAA1', Number.MAX_SAFE_INTEGER)).toBe(false);
  expect(isOwnUntil(undefined, Number.MAX_SAFE_INTEGER)).toBe(false);
});
