import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { TaskGroup } from '../../src/base/task-group.js';

const listenersOf = ({ signal }: AbortController): number => getEventListeners(signal, 'abort').length;

/** A worker that ends when it is told to. */
const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve());
  });

describe('a crew', () => {
  it('ends with the reason of its task, also of one that had ended before', async () => {
    const reason = new Error('enough');
    const [task, over] = [new AbortController(), new AbortController()];
    over.abort(reason);
    const [crew, late] = [new TaskGroup(task.signal), new TaskGroup(over.signal)];
    const finished = [crew, late].map((each) => each.finish([untilAborted(each.signal)]));

    task.abort(reason);

    for (const each of finished) await expect(each).rejects.toBe(reason);
  });

  it('ends with the first fault of a worker, when the others have ended', async () => {
    const fault = new Error('of a worker');
    const crew = new TaskGroup(new AbortController().signal);
    let isOtherEnded = false;
    const other = untilAborted(crew.signal).then(() => {
      isOtherEnded = true;
      throw new Error('a later fault');
    });

    await expect(crew.finish([other, Promise.reject(fault)])).rejects.toBe(fault);
    expect(isOtherEnded).toBe(true);
  });

  it('listens to its task until it has finished, and no longer', async () => {
    const task = new AbortController();
    const crew = new TaskGroup(task.signal);
    const before = listenersOf(task);

    await crew.finish([Promise.resolve()]);

    expect([before, listenersOf(task)]).toEqual([1, 0]);
  });
});
