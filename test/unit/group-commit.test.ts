// Group commit: nothing waits while little happens, much goes together, and what becomes of one is told to that one.
import { expect, test } from 'vitest';
import { GroupCommit } from '../../src/base/group-commit.js';

/** Sends that the test ends. */
function heldSends() {
  const groups: {
    items: readonly number[];
    end: (results?: readonly (string | Promise<string>)[]) => void;
  }[] = [];
  const told: (() => void)[] = [];
  const commit = new GroupCommit<number, string>(
    (items) =>
      new Promise((resolve) => {
        groups.push({ items, end: (results = items.map((item) => `did ${item}`)) => resolve(results) });
        told.splice(0).forEach((tell) => tell());
      }),
  );
  const nth = async (count: number) => {
    while (groups.length < count) await new Promise<void>((resolve) => told.push(resolve));
    return groups[count - 1]!;
  };
  return { commit, groups, nth };
}

test('what is asked for in one turn goes together, what comes while that is under way with the next group, in order', async () => {
  const { commit, groups, nth } = heldSends();

  const first = [1, 2, 3].map((item) => commit.run(item));
  const group = await nth(1);
  const second = [4, 5].map((item) => commit.run(item));
  group.end();

  expect(await Promise.all(first)).toEqual(['did 1', 'did 2', 'did 3']);
  (await nth(2)).end();
  expect(await Promise.all(second)).toEqual(['did 4', 'did 5']);
  expect(groups.map(({ items }) => items)).toEqual([
    [1, 2, 3],
    [4, 5],
  ]);
});

test('one group is under way at a time, of at most a hundred', async () => {
  const { commit, groups, nth } = heldSends();

  const all = Array.from({ length: 250 }, (_, item) => commit.run(item));
  for (const count of [1, 2, 3]) {
    const group = await nth(count);
    expect(groups).toHaveLength(count);
    group.end();
  }

  expect(await Promise.all(all)).toHaveLength(250);
  expect(groups.map(({ items }) => items.length)).toEqual([100, 100, 50]);
});

test('an item that is done by itself keeps no later group waiting, and its fault is its own', async () => {
  const { commit, nth } = heldSends();
  let endLate: (result: string) => void = () => undefined;
  const late = new Promise<string>((resolve) => (endLate = resolve));

  const [slow, refused, done] = [1, 2, 3].map((item) => commit.run(item));
  (await nth(1)).end([late, Promise.reject(new Error('not this one')), 'did 3']);
  expect(await done).toBe('did 3');
  await expect(refused).rejects.toThrow('not this one');
  const next = commit.run(4);
  (await nth(2)).end();

  expect(await next).toBe('did 4');
  endLate('did 1 at last');
  expect(await slow).toBe('did 1 at last');
});

test('a fault of the whole group is told to all of it, and the next group goes on', async () => {
  const calls: number[] = [];
  const commit = new GroupCommit<number, string>(async (items) => {
    calls.push(items.length);
    if (calls.length === 1) throw new Error('away');
    return items.map((item) => `did ${item}`);
  });

  const faults = await Promise.allSettled([commit.run(1), commit.run(2)]);

  expect(faults.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await commit.run(3)).toBe('did 3');
});

test('a group that gives too few results fails those that it forgot', async () => {
  const commit = new GroupCommit<number, string>(() => Promise.resolve(['did 1']));

  const [first, second] = await Promise.allSettled([commit.run(1), commit.run(2)]);

  expect(first).toEqual({ status: 'fulfilled', value: 'did 1' });
  expect(second.status).toBe('rejected');
});
