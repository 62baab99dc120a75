// What every implementation of the port `ScanState` must do, said in behaviour: any implementation can be registered here.
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { Tally } from '../../src/sync/outcome.js';
import type { StripeId } from '../../src/sync/ports.js';
import {
  type Approval,
  type Checkpoint,
  type Confirmed,
  type HeldRemovals,
  newCheckpoint,
  type ScanState,
} from '../../src/sync/scan/state.js';

export interface ScanStateBench {
  readonly state: ScanState;
  /** The last complete scan, and how many days ago it was complete; undefined before the first. */
  readonly completed: () => Promise<{ readonly scanId: string; readonly daysAgo: number } | undefined>;
  /** Lets so many days pass for everything that is stored; below 0: it was stored while the clock was ahead. */
  readonly daysPass: (days: number) => Promise<void>;
}

/** Registers the suite. @param open gives a new state, another one at each call; it is called in tests */
export function describeScanState(open: () => Promise<ScanStateBench>): void {
  describe('the candidates for removal', () => describeCandidates(async () => (await open()).state));
  describe('a checkpoint', () => describeCheckpoints(open));
  describe('the end of a scan', () => describeEnds(open));
  describe('an approval', () => describeApprovals(open));
  describe('an id that Stripe does not know', () => describeAbsent(open));
}

const idsOf = (from: number, count: number): StripeId[] =>
  Array.from({ length: count }, (_, index) => `cus_${from + index}` as StripeId);

const checkpointOf = (scanId: string, pages = 0): Checkpoint => ({
  ...newCheckpoint(scanId, { requestId: '$r.1', apiVersion: 'v', livemode: false, nowMs: 1 }),
  windows: [
    { gte: 0, lt: 7, settledFrom: null, cursor: null, openIds: [], done: true },
    { gte: 7, lt: null, settledFrom: 9, cursor: 'cus_1' as StripeId, openIds: idsOf(1, 2), done: false },
  ],
  pages,
});

const confirmedAt = (from: number, leftOut: readonly string[] = []): Confirmed => ({
  from: new Date(from),
  leftOut,
  ofTestClocks: leftOut.length > 0,
});

const lost = { code: 'lease_lost', kind: 'retryable' };

async function chunksOf(
  state: ScanState,
  scanId: string,
  after: string | null = null,
): Promise<{ ids: readonly StripeId[]; upTo: string }[]> {
  const chunks = [];
  for await (const chunk of state.candidates(scanId, after)) chunks.push(chunk);
  return chunks;
}

const keptIn = async (state: ScanState, scanId: string, after: string | null = null): Promise<StripeId[]> =>
  (await chunksOf(state, scanId, after)).flatMap(({ ids }) => ids).sort();

/** The part of the suite that dry runs need, whose state is gone with them. */
export function describeCandidates(open: () => Promise<ScanState>): void {
  test('are kept, each as often as it was added, for one scan each', async () => {
    const state = await open();
    await state.addCandidates('scan', 0, idsOf(0, 3));
    await state.addCandidates('scan', 1, idsOf(2, 3));
    await state.addCandidates('other', 0, idsOf(90, 1));

    expect(await keptIn(state, 'scan')).toEqual([...idsOf(0, 3), ...idsOf(2, 3)].sort());
    expect(await keptIn(state, 'other')).toEqual(idsOf(90, 1));
    expect(await chunksOf(state, 'nobody')).toEqual([]);
  });

  test('come some at a time: at least one, and below 2,000', async () => {
    const state = await open();
    const ids = idsOf(0, 6_500);
    const sizes = [1_000, 999, 1, 1_000, 500];
    for (let start = 0, add = 0; start < ids.length; add += 1) {
      const size = sizes[add % sizes.length]!;
      await state.addCandidates('scan', add, ids.slice(start, start + size));
      start += size;
    }

    const chunks = await chunksOf(state, 'scan');

    expect(chunks.flatMap((chunk) => chunk.ids).sort()).toEqual([...ids].sort());
    for (const chunk of chunks) {
      expect(chunk.ids.length).toBeGreaterThanOrEqual(1);
      expect(chunk.ids.length).toBeLessThan(2_000);
    }
  });

  test('go on after each position with exactly what is left, as often as they are asked for', async () => {
    const state = await open();
    for (let run = 0; run < 5; run += 1) await state.addCandidates('scan', run, idsOf(run * 1_000, 1_000));
    const chunks = await chunksOf(state, 'scan');

    for (const [index, { upTo }] of chunks.entries()) {
      const left = chunks.slice(index + 1).flatMap(({ ids }) => ids);
      expect(await keptIn(state, 'scan', upTo)).toEqual([...left].sort());
    }
    expect(await chunksOf(state, 'scan')).toEqual(chunks);
  });

  test('may be left half-way: nothing stays open', async () => {
    const state = await open();
    for (let run = 0; run < 3; run += 1) await state.addCandidates('scan', run, idsOf(run * 1_000, 1_000));

    const reading = state.candidates('scan', null)[Symbol.asyncIterator]();
    expect((await reading.next()).done).toBe(false);
    await reading.return?.();

    expect(await keptIn(state, 'scan')).toHaveLength(3_000);
  });

  test('of runs that are not settled are dropped, of that scan alone', async () => {
    const state = await open();
    for (let run = 0; run < 5; run += 1) await state.addCandidates('scan', run, idsOf(run * 10, 2));
    await state.addCandidates('other', 4, idsOf(90, 1));

    await state.dropCandidates('scan', { next: 4, open: [1, 2] });

    expect(await keptIn(state, 'scan')).toEqual([...idsOf(0, 2), ...idsOf(30, 2)].sort());
    expect(await keptIn(state, 'other')).toEqual(idsOf(90, 1));
    await state.addCandidates('scan', 1, idsOf(10, 2));
    expect(await keptIn(state, 'scan')).toEqual([...idsOf(0, 2), ...idsOf(10, 2), ...idsOf(30, 2)].sort());
  });
}

function describeCheckpoints(open: () => Promise<ScanStateBench>): void {
  test('is none at first, and comes back as it was saved', async () => {
    const { state } = await open();
    const checkpoint = { ...checkpointOf('scan'), t0: 12 };

    expect(await state.begin('first')).toBeUndefined();
    await state.save('first', checkpointOf('scan', 1));
    await state.save('first', checkpoint);

    expect(await state.begin('second')).toEqual(checkpoint);
  });

  test('is taken over by the run that began last: the earlier one changes nothing any more', async () => {
    const { state, completed } = await open();
    await state.begin('first');
    await state.save('first', checkpointOf('scan', 1));
    await state.addCandidates('scan', 0, idsOf(0, 2));

    await state.begin('second');

    await expect(state.save('first', checkpointOf('scan', 2))).rejects.toMatchObject(lost);
    const end = { scanId: 'scan', isComplete: true, heldFor: undefined, confirmed: confirmedAt(1_000) };
    await expect(state.end('first', end)).rejects.toMatchObject(lost);
    expect(await keptIn(state, 'scan')).toEqual(idsOf(0, 2));
    expect(await completed()).toBeUndefined();
    expect(await state.lastComplete()).toBeUndefined();
    await state.save('second', checkpointOf('scan', 3));
    expect(await state.begin('third')).toEqual(checkpointOf('scan', 3));
  });

  test('is refused from a run that never began', async () => {
    const { state } = await open();

    await expect(state.save('nobody', checkpointOf('scan'))).rejects.toMatchObject(lost);

    expect(await state.begin('first')).toBeUndefined();
  });

  test('has one owner, however many begin at the same time', async () => {
    const { state } = await open();
    const runs = Array.from({ length: 10 }, () => randomUUID());
    await Promise.all(runs.map((run) => state.begin(run)));

    const saved = await Promise.allSettled(runs.map((run) => state.save(run, checkpointOf(run))));

    expect(saved.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
}

/** A scan that ended with its two candidates held. */
async function holding(
  { state }: ScanStateBench,
  scanId = 'scan',
  requestId = 'request',
  confirmed?: Confirmed,
): Promise<HeldRemovals> {
  await state.begin(scanId);
  await state.save(scanId, checkpointOf(scanId));
  await state.addCandidates(scanId, 0, idsOf(0, 2));
  await state.end(scanId, {
    scanId,
    isComplete: false,
    heldFor: requestId,
    heldCount: 2,
    elsewhere: idsOf(7, 1),
    confirmed,
  });
  return { scanId, requestId, count: 2, elsewhere: idsOf(7, 1) };
}

async function complete({ state }: ScanStateBench, scanId: string, confirmed?: Confirmed): Promise<void> {
  await state.begin(scanId);
  await state.end(scanId, { scanId, isComplete: true, heldFor: undefined, confirmed });
}

function describeEnds(open: () => Promise<ScanStateBench>): void {
  test('drops checkpoint and candidates, and makes it the last complete one', async () => {
    const bench = await open();
    const { state, completed } = bench;
    await state.begin('run');
    await state.save('run', checkpointOf('scan'));
    await state.addCandidates('scan', 0, idsOf(0, 2));
    await state.addCandidates('forgotten', 0, idsOf(5, 2));

    await state.end('run', { scanId: 'scan', isComplete: true, heldFor: undefined, confirmed: undefined });

    expect(await state.begin('next')).toBeUndefined();
    expect([await keptIn(state, 'scan'), await keptIn(state, 'forgotten')]).toEqual([[], []]);
    expect(await state.held()).toBeUndefined();
    expect(await completed()).toMatchObject({ scanId: 'scan' });
    await complete(bench, 'later');
    expect(await completed()).toMatchObject({ scanId: 'later' });
  });

  test('tells what it has confirmed, until the next complete one', async () => {
    const bench = await open();
    const { state } = bench;
    expect(await state.lastComplete()).toBeUndefined();

    await complete(bench, 'first', confirmedAt(1_000, ['cus_1', '$name', 'a.b']));
    expect(await state.lastComplete()).toEqual(confirmedAt(1_000, ['cus_1', '$name', 'a.b']));
    await complete(bench, 'second', confirmedAt(2_000));
    expect(await state.lastComplete()).toEqual(confirmedAt(2_000));
  });

  test('forgets what an earlier one had confirmed where it does not know its own', async () => {
    const bench = await open();
    await complete(bench, 'first', confirmedAt(1_000, ['cus_1']));

    await complete(bench, 'second');

    expect(await bench.state.lastComplete()).toBeUndefined();
    expect(await bench.completed()).toMatchObject({ scanId: 'second' });
  });

  test('confirms nothing while its candidates are held: an earlier one stays the last complete one', async () => {
    const bench = await open();
    await complete(bench, 'first', confirmedAt(1_000, ['cus_1']));

    await holding(bench, 'second', 'request', confirmedAt(2_000, ['cus_2']));

    expect(await bench.state.lastComplete()).toEqual(confirmedAt(1_000, ['cus_1']));
  });

  test('keeps candidates that are held, and no others, and is not complete then', async () => {
    const bench = await open();
    await bench.state.addCandidates('forgotten', 0, idsOf(5, 2));

    const held = await holding(bench);

    expect(await bench.state.held()).toEqual(held);
    expect(await keptIn(bench.state, 'scan')).toEqual(idsOf(0, 2));
    expect(await keptIn(bench.state, 'forgotten')).toEqual([]);
    expect(await bench.completed()).toBeUndefined();
    expect(await bench.state.begin('next')).toBeUndefined();
  });

  test('supersedes what an earlier scan has held', async () => {
    const bench = await open();
    const first = await holding(bench, 'first', 'one');

    const second = await holding(bench, 'second', 'two');
    expect(await bench.state.held()).toEqual(second);
    expect(await keptIn(bench.state, 'first')).toEqual([]);
    await expect(bench.state.beginApproval('run', first)).rejects.toMatchObject(lost);

    await complete(bench, 'third');
    expect(await bench.state.held()).toBeUndefined();
    expect(await keptIn(bench.state, 'second')).toEqual([]);
    await expect(bench.state.beginApproval('run', second)).rejects.toMatchObject(lost);
  });
}

const approvalOf = (after: string | null): Approval => {
  const tally = new Tally();
  tally.add({ id: 'cus_1', outcome: 'deleted' });
  return { removals: { after, proven: idsOf(0, 1) }, result: tally.result() };
};

function describeApprovals(open: () => Promise<ScanStateBench>): void {
  test('is none at first, and comes back as it was saved', async () => {
    const bench = await open();
    const held = await holding(bench);

    expect(await bench.state.beginApproval('first', held)).toBeUndefined();
    await bench.state.saveApproval('first', approvalOf('$a.1'));

    expect(await bench.state.held()).toEqual({ ...held, approval: approvalOf('$a.1') });
    expect(await bench.state.beginApproval('second', held)).toEqual(approvalOf('$a.1'));
  });

  test('is taken over by the run that began last', async () => {
    const bench = await open();
    const held = await holding(bench);
    await bench.state.beginApproval('first', held);
    await bench.state.beginApproval('second', held);

    await expect(bench.state.saveApproval('first', approvalOf(null))).rejects.toMatchObject(lost);
    await bench.state.saveApproval('second', approvalOf('b'));

    expect(await bench.state.beginApproval('third', held)).toEqual(approvalOf('b'));
  });

  test('is lost when a later scan supersedes what was held, what was saved of it too', async () => {
    const bench = await open();
    await bench.state.beginApproval('run', await holding(bench, 'first'));
    await bench.state.saveApproval('run', approvalOf('a'));

    const later = await holding(bench, 'second');

    await expect(bench.state.saveApproval('run', approvalOf('b'))).rejects.toMatchObject(lost);
    expect(await bench.state.beginApproval('next', later)).toBeUndefined();
  });

  test('goes on beside a scan that has only begun', async () => {
    const bench = await open();
    const held = await holding(bench);
    await bench.state.beginApproval('approving', held);

    await bench.state.begin('scanning');

    await bench.state.saveApproval('approving', approvalOf('a'));
    await bench.state.save('scanning', checkpointOf('next'));
  });

  test('ends with the candidates dropped, and its scan complete as of the end of that scan', async () => {
    const bench = await open();
    await complete(bench, 'earlier');
    await bench.daysPass(1);
    const held = await holding(bench);
    await bench.daysPass(2);

    await bench.state.endHeld(held);

    expect(await bench.state.held()).toBeUndefined();
    expect(await keptIn(bench.state, 'scan')).toEqual([]);
    expect(await bench.completed()).toEqual({ scanId: 'scan', daysAgo: expect.closeTo(2, 2) as number });
    await bench.state.endHeld(held);
    expect(await bench.completed()).toMatchObject({ scanId: 'scan' });
  });

  test('ends with what its scan had confirmed, in place of what an earlier one had', async () => {
    const bench = await open();
    await complete(bench, 'first', confirmedAt(1_000, ['cus_1']));

    const held = await holding(bench, 'second', 'request', confirmedAt(2_000, ['cus_2', '$name']));
    await bench.state.endHeld(held);

    expect(await bench.state.lastComplete()).toEqual(confirmedAt(2_000, ['cus_2', '$name']));
  });

  test('ends with nothing confirmed where its scan did not know, whatever was held or complete before', async () => {
    const bench = await open();
    await complete(bench, 'first', confirmedAt(1_000, ['cus_1']));
    await holding(bench, 'second', 'request', confirmedAt(2_000));

    await bench.state.endHeld(await holding(bench, 'third'));

    expect(await bench.state.lastComplete()).toBeUndefined();
  });

  test('is not complete as of a time that is still to come', async () => {
    const bench = await open();
    const held = await holding(bench);
    await bench.daysPass(-2);

    await bench.state.endHeld(held);

    expect(await bench.completed()).toEqual({ scanId: 'scan', daysAgo: expect.closeTo(0, 2) as number });
  });

  test('ends nothing where a later scan has superseded what was held', async () => {
    const bench = await open();
    const first = await holding(bench, 'first', 'one', confirmedAt(1_000));
    const second = await holding(bench, 'second', 'two', confirmedAt(2_000));

    await bench.state.endHeld(first);

    expect(await bench.state.held()).toEqual(second);
    expect(await keptIn(bench.state, 'second')).toEqual(idsOf(0, 2));
    expect(await bench.completed()).toBeUndefined();
    expect(await bench.state.lastComplete()).toBeUndefined();
  });
}

function describeAbsent(open: () => Promise<ScanStateBench>): void {
  test('is remembered for 30 days from when it was last noted', async () => {
    const { state, daysPass } = await open();
    const [one, two, three] = idsOf(0, 3) as [StripeId, StripeId, StripeId];
    await state.noteAbsent(one);
    await state.noteAbsent(two);

    expect(await state.recentlyAbsent([one, two, three])).toEqual(new Set([one, two]));
    expect(await state.recentlyAbsent([three])).toEqual(new Set());
    expect(await state.recentlyAbsent([])).toEqual(new Set());
    await daysPass(29);
    expect(await state.recentlyAbsent([one, two])).toEqual(new Set([one, two]));
    await state.noteAbsent(two);
    await daysPass(1.01);
    expect(await state.recentlyAbsent([one, two])).toEqual(new Set([two]));
  });

  test('is asked for again if it was noted while the clock was ahead', async () => {
    const { state, daysPass } = await open();
    const [one] = idsOf(0, 1) as [StripeId];
    await state.noteAbsent(one);

    await daysPass(-1);

    expect(await state.recentlyAbsent([one])).toEqual(new Set());
  });
}
