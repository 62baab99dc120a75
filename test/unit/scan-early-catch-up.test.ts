import { describe, expect, it } from 'vitest';
import { EarlyCatchUp } from '../../src/sync/scan/early-catch-up.js';

const never = new AbortController().signal;

type List = (signal: AbortSignal, mayWrite: Promise<void>) => Promise<void>;

const earlyCatchUp = (list: List, mayBegin = true, signal = never): EarlyCatchUp =>
  new EarlyCatchUp({ mayBegin: () => mayBegin, list }, signal);

/** Ends with the signal's reason, or when writing is allowed. */
const untilAllowed: List = (signal, mayWrite) =>
  new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error));
    void mayWrite.then(resolve);
  });

/** Counts the listings that were begun and those that were allowed to write. */
function counting() {
  const seen = { begun: 0, written: 0 };
  const early = earlyCatchUp(async (signal, mayWrite) => {
    seen.begun += 1;
    await untilAllowed(signal, mayWrite);
    seen.written += 1;
  });
  return { seen, early };
}

describe('a catch-up that is begun beside the last pages', () => {
  it('is written after the windows, where no page was asked for after it', async () => {
    const { seen, early } = counting();

    const isDone = await early.beside(async () => {
      early.pageAsked();
      early.begin();
      early.begin();
      expect(seen.written).toBe(0);
    });

    expect(isDone).toBe(true);
    expect(seen).toEqual({ begun: 1, written: 1 });
  });

  it('is in vain where a page followed: it is given up, and nothing of it is written', async () => {
    const { seen, early } = counting();

    const isDone = await early.beside(async () => {
      early.begin();
      early.pageAsked();
    });

    expect(isDone).toBe(false);
    expect(seen).toEqual({ begun: 1, written: 0 });
  });

  it('is begun again after a page that nobody had foreseen, and counts, at most three times', async () => {
    for (const pages of [1, 2, 3]) {
      const { seen, early } = counting();

      const isDone = await early.beside(async () => {
        early.begin();
        for (let page = 0; page < pages; page += 1) {
          early.pageAsked();
          early.begin();
        }
      });

      expect({ isDone, ...seen }).toEqual(
        pages < 3 ? { isDone: true, begun: pages + 1, written: 1 } : { isDone: false, begun: 3, written: 0 },
      );
    }
  });

  it('does not begin before T0 is known', async () => {
    const early = earlyCatchUp(() => Promise.reject(new Error('must not be listed')), false);

    expect(await early.beside(async () => early.begin())).toBe(false);
  });

  it('ends the windows with its own fault, and waits for both', async () => {
    const fault = new Error('of the catch-up');
    const early = earlyCatchUp(() => Promise.reject(fault));
    let reason: unknown;

    const result = early.beside(async (signal) => {
      early.begin();
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => {
          reason = signal.reason;
          resolve();
        });
      });
    });

    await expect(result).rejects.toBe(fault);
    expect(reason).toBe(fault);
  });

  it("ends with the windows' fault, and with the reason of an abort, unwritten", async () => {
    const fault = new Error('of a window');
    const failed = counting();
    const stop = new AbortController();
    const stopped = earlyCatchUp(untilAllowed, true, stop.signal);

    const failing = failed.early.beside(async () => {
      failed.early.begin();
      throw fault;
    });
    const stopping = stopped.beside(async (signal) => {
      stopped.begin();
      stop.abort(new Error('stopped'));
      signal.throwIfAborted();
    });

    await expect(failing).rejects.toBe(fault);
    await expect(stopping).rejects.toThrow('stopped');
    expect(failed.seen).toEqual({ begun: 1, written: 0 });
  });
});
