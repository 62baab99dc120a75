// Waits that end early, and leave nothing behind on the signals that they have listened to.
import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { endWaits, isDoneWithin, pause } from '../../src/base/waiting.js';

const listenersOf = ({ signal }: AbortController): number => getEventListeners(signal, 'abort').length;
const anHour = 3_600_000;

describe('a pause', () => {
  test('is over when its time has passed, also one that lies behind', async () => {
    expect(await pause(1)).toBe(true);
    expect(await pause(-1, new AbortController().signal)).toBe(true);
  });

  test('ends at once by any of its signals, and at none that has been aborted before does it begin', async () => {
    const [first, second] = [new AbortController(), new AbortController()];

    const waiting = pause(anHour, first.signal, second.signal);
    endWaits(second);

    expect(await waiting).toBe(false);
    expect(await pause(anHour, first.signal, second.signal)).toBe(false);
  });

  test('leaves no listener, however it ends', async () => {
    const [passing, ending] = [new AbortController(), new AbortController()];

    const waits = [pause(1, passing.signal), pause(anHour, passing.signal, ending.signal)];
    expect(listenersOf(passing)).toBe(2);
    endWaits(ending);
    await Promise.all(waits);

    expect(listenersOf(passing)).toBe(0);
    expect(listenersOf(ending)).toBe(0);
  });
});

describe('a promise', () => {
  test('is done within a time or not, and what it rejects with is thrown', async () => {
    const never = new Promise(() => undefined);

    expect(await isDoneWithin(Promise.resolve(), anHour)).toBe(true);
    expect(await isDoneWithin(never, 1)).toBe(false);
    await expect(isDoneWithin(Promise.reject(new Error('no')), anHour)).rejects.toThrow('no');
  });
});
