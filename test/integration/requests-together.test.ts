// Requests that are claimed and ended in one command each: every one of them has the fate that it would have had alone.
import { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { commandsOf } from '../../src/requests/commands.js';
import { ensureRequestIndexes } from '../../src/requests/indexes.js';
import { countCommands } from '../support/count-commands.js';
import { freshDatabase } from '../support/database.js';
import { Holder, quickSettings, requestsLab, resultOf } from '../support/requests.js';

const small = { command: 'softDelete', stripeId: 'cus_1' };
const commands = commandsOf('small');
const settings = { ...quickSettings, leaseMs: 60_000 };

async function openHolders() {
  const lab = requestsLab(freshDatabase());
  const place = await lab.connect();
  await ensureRequestIndexes(place);
  const [mine, theirs] = ['me', 'them'].map((owner) => new Holder(place, owner, settings));
  return { client: place.db.client, lab, mine: mine!, theirs: theirs! };
}

const claimAll = ({ claims }: Holder, ids: readonly mongo.ObjectId[]) =>
  Promise.all(ids.map((id) => claims.claim(id, commands)));

describe('claimed together', () => {
  test('requests are claimed by one command, each as it would be alone', async () => {
    const { client, lab, mine } = await openHolders();
    const ids = await lab.insert(small, { ...small, dryRun: true }, { ...small, stripeId: 17 }, small);
    let claimed: Awaited<ReturnType<typeof claimAll>> = [];

    const updates = await countCommands(client, 'update', async () => {
      claimed = await claimAll(mine, ids);
    });

    expect(updates).toBe(1);
    expect(claimed.map((each) => each?.claim.id)).toEqual(ids);
    expect(claimed.map((each) => each?.kind)).toEqual(['valid', 'valid', 'invalid', 'valid']);
    expect(claimed[1]).toMatchObject({ dryRun: true });
    for (const id of ids) {
      expect(await lab.read(id)).toMatchObject({
        status: 'running',
        attempts: 1,
        lease: { owner: 'me', fence: 1 },
      });
    }
  });

  test('what does not wait, is not due, is cancelled or of another lane is left alone', async () => {
    const { lab, mine } = await openHolders();
    const ids = await lab.insert(
      small,
      { ...small, status: 'succeeded' },
      { ...small, runAt: new Date(Date.now() + 60_000) },
      { ...small, cancel: true },
      { command: 'syncAll' },
      small,
    );

    const claimed = await claimAll(mine, [...ids, new mongo.ObjectId()]);

    expect(claimed.map((each) => each?.claim.id)).toEqual([
      ids[0],
      ...Array<undefined>(4),
      ids[5],
      undefined,
    ]);
  });

  test('by two processes at once, every request has one holder', async () => {
    const { lab, mine, theirs } = await openHolders();
    const ids = await lab.insert(...Array.from({ length: 60 }, () => small));

    const [ours, others] = await Promise.all([claimAll(mine, ids), claimAll(theirs, ids)]);

    ids.forEach((_, index) => {
      expect([ours[index], others[index]].filter((each) => each !== undefined)).toHaveLength(1);
    });
  });

  test('what this process holds already is not claimed again', async () => {
    const { lab, mine } = await openHolders();
    const ids = await lab.insert(small, small, small);

    await claimAll(mine, ids.slice(0, 2));
    const again = await claimAll(mine, ids);

    expect(again.map((each) => each?.claim.id)).toEqual([undefined, undefined, ids[2]]);
  });

  test('what is wanted twice at once is claimed once', async () => {
    const { lab, mine } = await openHolders();
    const [first, second] = await lab.insert(small, small);

    const claimed = await claimAll(mine, [first!, second!, first!]);

    expect(claimed.map((each) => each?.claim.id)).toEqual([first, second, undefined]);
  });

  test('one that MongoDB cannot update as it is is in nobody’s way', async () => {
    const { lab, mine } = await openHolders();
    const large = { command: 'softDelete', stripeId: 'cus_1', note: 'x'.repeat(16 * 1024 * 1024 - 200) };
    const ids = await lab.insert(small, large, small);

    const claimed = await claimAll(mine, ids);

    expect(claimed.map((each) => each?.claim.id)).toEqual(ids);
    expect(claimed[0]).toMatchObject({ kind: 'valid' });
    expect(claimed[2]).toMatchObject({ kind: 'valid' });
  });
});

describe('ended together', () => {
  test('requests are ended by one command, each with its own result', async () => {
    const { client, lab, mine } = await openHolders();
    const ids = await lab.insert(small, small, small);
    const claimed = await claimAll(mine, ids);
    const endAll = () =>
      Promise.all(
        claimed.map((each, index) =>
          mine.finish(each!.claim, 1, { status: 'succeeded', result: resultOf({ updated: index }) }),
        ),
      );
    let held: readonly string[] = [];

    const updates = await countCommands(client, 'update', async () => {
      held = await endAll();
    });

    expect(updates).toBe(1);
    expect(held).toEqual(['held', 'held', 'held']);
    for (const [index, id] of ids.entries()) {
      const request = await lab.read(id);
      expect(request).toMatchObject({ status: 'succeeded', result: { updated: index } });
      expect(request['lease']).toEqual({ owner: 'me', fence: 1 });
    }
  });

  test('one that is somebody else’s by now is lost, and the others have ended', async () => {
    const { lab, mine, theirs } = await openHolders();
    const ids = await lab.insert(small, small, small);
    const claimed = await claimAll(mine, ids);
    await lab.requests.updateOne({ _id: ids[1]! }, { $set: { status: 'pending' } });
    await claimAll(theirs, [ids[1]!]);
    const before = await lab.read(ids[1]!);

    const held = await Promise.all(
      claimed.map((each) => mine.finish(each!.claim, 1, { status: 'succeeded', result: resultOf() })),
    );

    expect(held).toEqual(['held', 'lost', 'held']);
    expect(await lab.read(ids[1]!)).toEqual(before);
    for (const id of [ids[0]!, ids[2]!]) expect(await lab.read(id)).toMatchObject({ status: 'succeeded' });
  });

  test('one whose result is too large for its document fails by itself', async () => {
    const { lab, mine } = await openHolders();
    const note = 'x'.repeat(15 * 1024 * 1024 - 64 * 1024);
    const ids = await lab.insert(small, { ...small, note }, small);
    const claimed = await claimAll(mine, ids);
    const items = Array.from({ length: 20_000 }, (_, index) => ({
      id: `cus_${index}`,
      outcome: 'failed' as const,
      message: 'y'.repeat(60),
    }));

    const ends = await Promise.allSettled(
      claimed.map((each, index) =>
        mine.finish(each!.claim, 1, {
          status: 'partial',
          result: index === 1 ? { ...resultOf(), items } : resultOf(),
        }),
      ),
    );

    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    for (const id of [ids[0]!, ids[2]!]) expect(await lab.read(id)).toMatchObject({ status: 'partial' });
  });
});
