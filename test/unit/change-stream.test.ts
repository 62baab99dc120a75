// Following a change stream: nothing waits while little happens, and what comes in one answer is never waited
// for.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ChangeStreamFollower, type FollowedStream } from '../../src/mongo/change-stream.js';

const gatherMs = 1_000;

interface Numbered {
  readonly _id: { readonly id: number };
}

/**
 * A stream whose answers the test gives; after the last event of one its token is the server's, as the driver
 * has it.
 */
function answering(answers: readonly (readonly number[])[], onOver: () => void): FollowedStream {
  const events = answers.flatMap((ids) =>
    ids.map((id, index) => ({ event: { _id: { id } }, isLast: index === ids.length - 1 })),
  );
  const stream: FollowedStream & { resumeToken: unknown } = {
    closed: false,
    resumeToken: undefined,
    on: () => undefined,
    once: () => undefined,
    tryNext: () => {
      const next = events.shift();
      if (!next) onOver();
      else stream.resumeToken = next.isLast ? { server: true } : next.event._id;
      return Promise.resolve(next?.event ?? null);
    },
    close: () => Promise.resolve(),
  };
  return stream;
}

async function follow(answers: readonly (readonly number[])[]): Promise<Map<number, number>> {
  const startedMs = performance.now();
  const toldAt = new Map<number, number>();
  const stream = answering(answers, () => follower.close());
  const follower = new ChangeStreamFollower<Numbered>({
    collection: () => ({ watch: () => stream }),
    pipeline: [],
    gatherMs,
    onEvent: ({ _id: { id } }) => void toldAt.set(id, performance.now() - startedMs),
  });
  await vi.runAllTimersAsync();
  return toldAt;
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('what comes in one answer is told at once', async () => {
  const toldAt = await follow([[1, 2, 3, 4, 5]]);

  expect([...toldAt]).toEqual([1, 2, 3, 4, 5].map((id) => [id, 0]));
});

test('where one answer follows on another the server gathers before it is asked for the next', async () => {
  const toldAt = await follow([[1], [2, 3], [4]]);

  expect([...toldAt]).toEqual([
    [1, 0],
    [2, 0],
    [3, 0],
    [4, gatherMs],
  ]);
});
