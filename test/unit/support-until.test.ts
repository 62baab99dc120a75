// Proof of the test support: waiting for a condition, and ending what was started.
import { describe, expect, test } from 'vitest';
import { atEnd, mark, releaseTo } from '../support/cleanup.js';
import { until } from '../support/until.js';

describe('until', () => {
  test('returns the first truthy value', async () => {
    const values = [0, '', undefined, 'cus_1', 'cus_2'];

    expect(await until(() => values.shift(), { what: 'a customer', intervalMs: 1 })).toBe('cus_1');
  });

  test('takes an error as not yet', async () => {
    const answers = [() => Promise.reject(new Error('not connected')), () => Promise.resolve(7)];

    expect(await until(() => answers.shift()?.(), { what: 'an answer', intervalMs: 1 })).toBe(7);
  });

  test('gives up with what was awaited and the last value', async () => {
    const waiting = until(() => null, { what: 'a request to succeed', timeoutMs: 5, intervalMs: 1 });

    await expect(waiting).rejects.toThrow('Gave up waiting for a request to succeed after 5 ms, last null');
  });

  test('gives up with the last error as cause', async () => {
    const fault = new Error('not connected');

    const waiting = until(() => Promise.reject(fault), { what: 'an answer', timeoutMs: 5, intervalMs: 1 });

    await expect(waiting).rejects.toMatchObject({ cause: fault });
  });
});

describe('cleanup', () => {
  test('releases the last first, back to the mark and no further', async () => {
    const released: string[] = [];
    atEnd(() => void released.push('before'));
    const place = mark();
    atEnd(() => void released.push('first'));
    atEnd(() => void released.push('second'));

    await releaseTo(place);

    expect(released).toEqual(['second', 'first']);
  });

  test('releases all of it even when one fails, and reports each failure', async () => {
    const released: string[] = [];
    const place = mark();
    atEnd(() => Promise.reject(new Error('stuck')));
    atEnd(() => void released.push('between'));
    atEnd(() => Promise.reject(new Error('busy')));

    const ended = releaseTo(place);

    await expect(ended).rejects.toThrow('2 things did not end: Error: busy; Error: stuck');
    expect(released).toEqual(['between']);
  });
});
