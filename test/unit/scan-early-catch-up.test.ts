import { describe, expect, it } from 'vitest';
import { EarlyCatchUp } from '../../src/sync/scan/early-catch-up.js';

const never = new AbortController().signal;

function earlyCatchUp(list: (signal: AbortSignal) => Promise<void>, mayBegin = true, signal = never) {
  return new EarlyCatchUp({ mayBegin: () => mayBegin, list }, signal);
}

describe('a catch-up that is begun beside the last pages', () => {
  it('counts where no page was asked for after it', async () => {
    let lists = 0;
    const early = earlyCatchUp(async () => void (lists += 1));

    const caughtUp = await early.beside(async () => {
      early.pageAsked();
      early.begin();
      early.begin();
    });

    expect(caughtUp).toBe('done');
    expect(lists).toBe(1);
  });

  it('is in vain where a page followed', async () => {
    const early = earlyCatchUp(async () => {});

    const caughtUp = await early.beside(async () => {
      early.begin();
      early.pageAsked();
    });

    expect(caughtUp).toBe('in_vain');
  });

  it('is begun again after a page that nobody had foreseen, and counts, at most three times', async () => {
    for (const pages of [1, 2, 3]) {
      let lists = 0;
      const early = earlyCatchUp(async () => void (lists += 1));

      const caughtUp = await early.beside(async () => {
        early.begin();
        for (let page = 0; page < pages; page += 1) {
          early.pageAsked();
          early.begin();
        }
      });

      expect({ caughtUp, lists }).toEqual(
        pages < 3 ? { caughtUp: 'done', lists: pages + 1 } : { caughtUp: 'in_vain', lists: 3 },
      );
    }
  });

  it('does not begin while what it lists again is not in the mirror yet', async () => {
    const early = earlyCatchUp(() => Promise.reject(new Error('must not be listed')), false);

    expect(await early.beside(async () => early.begin())).toBe('not_begun');
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

  it("ends with the windows' fault, and with the reason of an abort", async () => {
    const fault = new Error('of a window');
    const untilAborted = (signal: AbortSignal): Promise<void> =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new Error('aborted', { cause: signal.reason })));
      });
    const early = earlyCatchUp(untilAborted);
    const stop = new AbortController();
    const stopped = earlyCatchUp(untilAborted, true, stop.signal);

    const failing = early.beside(async () => {
      early.begin();
      throw fault;
    });
    const stopping = stopped.beside(async (signal) => {
      stopped.begin();
      stop.abort(new Error('stopped'));
      signal.throwIfAborted();
    });

    await expect(failing).rejects.toBe(fault);
    await expect(stopping).rejects.toThrow('stopped');
  });
});
