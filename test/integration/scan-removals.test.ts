// Removals that are held for approval: seen from outside, kept, and gone on with.
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { readDatabaseStats } from '../../src/status/database-stats.js';
import type { SyncResult } from '../../src/sync/outcome.js';
import { freshDatabase, ours } from '../support/database.js';
import { Life, openScanBench, type ScanBench } from '../support/scan.js';

const retrieve = 'GET /v1/customers/{id}';

const heldOf = async ({ db }: ScanBench): Promise<number | undefined> =>
  (await readDatabaseStats(ours(db))).removalsHeld['customer'];

/** A mirror of 400, of whom so many are then deleted at Stripe. */
async function mirrorThatLost(count: number): Promise<{ bench: ScanBench; gone: string[] }> {
  const bench = await openScanBench(freshDatabase(), { seed: { count: 400 } });
  await bench.scan({ requestId: 'first' });
  const gone = bench.simulator.listIds().slice(0, count);
  for (const id of gone) bench.simulator.delete(id);
  return { bench, gone };
}

async function keptIds(bench: ScanBench): Promise<string[]> {
  const held = await bench.state.held();
  const ids: string[] = [];
  if (held) for await (const chunk of bench.state.candidates(held.scanId, null)) ids.push(...chunk.ids);
  return ids.sort();
}

describe('removals that are held', () => {
  test('are counted for the metric, with their ids kept, until they are approved', async () => {
    const { bench, gone } = await mirrorThatLost(150);
    expect(await heldOf(bench)).toBe(0);

    const { result } = await bench.scan({ requestId: 'second' });

    expect(result.removalsHeld).toBe(150);
    expect(await heldOf(bench)).toBe(150);
    expect(await keptIds(bench)).toEqual([...gone].sort());
    expect((await bench.approve('second')).deleted).toBe(150);
    expect(await heldOf(bench)).toBe(0);
  });

  test('are superseded by a later complete scan, and replaced by what a later one holds', async () => {
    const { bench } = await mirrorThatLost(150);
    await bench.scan({ requestId: 'second' });
    for (const id of bench.simulator.listIds().slice(0, 10)) bench.simulator.delete(id);

    await bench.scan({ requestId: 'third' });

    expect(await heldOf(bench)).toBe(160);
    await expect(bench.approve('second')).rejects.toMatchObject({ code: 'not_found', kind: 'terminal' });
    const { result } = await bench.scan({ requestId: 'fourth', removals: { maxRatio: 1, maxCount: 1_000 } });
    expect(result.deleted).toBe(160);
    expect(await heldOf(bench)).toBe(0);
    await expect(bench.approve('third')).rejects.toMatchObject({ code: 'not_found', kind: 'terminal' });
  });

  test('stay held while a later scan could not finish', async () => {
    const { bench, gone } = await mirrorThatLost(150);
    await bench.scan({ requestId: 'second' });
    const stop = new AbortController();
    const source: ScanBench['source'] = {
      ...bench.source,
      list: (query, options) => {
        stop.abort(new Error('cut off'));
        return bench.source.list(query, options);
      },
    };

    await expect(bench.scan({ requestId: 'third', source, signal: stop.signal })).rejects.toThrow('cut off');

    expect(await heldOf(bench)).toBe(150);
    expect(await keptIds(bench)).toEqual([...gone].sort());
  });

  test('are proven one by one on approval too: who is there after all stays, nobody is asked for twice, and the result tells of all', async () => {
    const { bench, gone } = await mirrorThatLost(150);
    // The list leaves out more than was deleted.
    const hidden = new Set(bench.simulator.listIds().slice(0, 20));
    const source: ScanBench['source'] = {
      ...bench.source,
      list: async (query, options) => {
        const answer = await bench.source.list(query, options);
        if (answer.kind === 'cursor_gone') return answer;
        return { ...answer, objects: answer.objects.filter(({ id }) => !hidden.has(id)) };
      },
    };
    const { result } = await bench.scan({ requestId: 'second', source });
    expect(result.removalsHeld).toBe(170);
    bench.simulator.fault({ kind: 'status', status: 400, endpoint: retrieve, skip: 60 });

    await expect(bench.approve('second')).rejects.toMatchObject({ kind: 'terminal' });
    expect(await heldOf(bench)).toBe(170);
    const approved = await bench.approve('second');

    expect(approved).toMatchObject({ deleted: 150, unchanged: 20, failed: 0 });
    expect(await bench.mirroredIds()).toHaveLength(250);
    for (const id of gone) expect(await bench.stored(id)).toMatchObject({ _sync: { deletedBy: 'stripe' } });
    // The one that was refused, and three that were on their way then.
    expect(bench.simulator.stats.calls[retrieve]).toBeLessThanOrEqual(170 + 1 + 3);
  });

  test('are told in full by an approval that was stopped over and over', async () => {
    const { bench } = await mirrorThatLost(150);
    await bench.scan({ requestId: 'second' });
    let notices = 0;
    let result: SyncResult | undefined;

    for (let tries = 0; !result && tries < 100; tries += 1) {
      const stop = new AbortController();
      let calls = 0;
      const source: ScanBench['source'] = {
        ...bench.source,
        retrieve: (...args) => {
          if ((calls += 1) === 20)
            stop.abort(new Fault('shutdown', 'Stopped by the test', { kind: 'retryable' }));
          return bench.source.retrieve(...args);
        },
      };
      const approving = bench.approve('second', {
        source,
        signal: stop.signal,
        onCheckpoint: () => (notices += 1),
      });
      result = await approving.catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'shutdown' });
        return undefined;
      });
    }

    expect(result).toMatchObject({ deleted: 150, unchanged: 0, failed: 0 });
    expect(result?.items).toHaveLength(150);
    expect(notices).toBeGreaterThan(5);
    expect(await heldOf(bench)).toBe(0);
  });

  test('are counted once each, also where a scan was killed while it kept them', async () => {
    const bench = await openScanBench(freshDatabase(), { seed: { count: 1_500, distribution: 'growth' } });
    await bench.scan({ requestId: 'first' });
    const gone = bench.simulator.listIds().filter((_, index) => index % 5 === 0);
    for (const id of gone) bench.simulator.delete(id);
    for (let round = 0; round < 2; round += 1) {
      const life = new Life();
      let saves = 0;
      const state: ScanBench['state'] = {
        ...bench.state,
        save: async (...args) => {
          await bench.state.save(...args);
          saves += 1;
        },
        addCandidates: async (...args) => {
          await bench.state.addCandidates(...args);
          if (saves > 0) life.end(); // some are settled by then, these are not
        },
      };
      const killed = bench.scan({
        requestId: 'second',
        listsAtOnce: 2,
        source: life.portOf(bench.source),
        mirror: life.portOf(bench.mirror),
        state: life.portOf(state),
      });
      await expect(killed).rejects.toThrow('killed');
    }

    const { result, isResumed } = await bench.scan({ requestId: 'second', listsAtOnce: 2 });

    expect(isResumed).toBe(true);
    expect(result.removalsHeld).toBe(gone.length);
    expect(await keptIds(bench)).toEqual([...gone].sort());
  });

  test('cannot be approved by a run that was superseded by another', async () => {
    const { bench } = await mirrorThatLost(150);
    await bench.scan({ requestId: 'second' });
    const held = (await bench.state.held())!;
    let isTaken = false;
    const source: ScanBench['source'] = {
      ...bench.source,
      retrieve: async (...args) => {
        if (!isTaken) await bench.state.beginApproval('another run', held);
        isTaken = true;
        return bench.source.retrieve(...args);
      },
    };

    await expect(bench.approve('second', { source })).rejects.toMatchObject({ code: 'lease_lost' });
    expect((await bench.approve('second')).deleted).toBeLessThanOrEqual(150);
    expect(await bench.mirroredIds()).toHaveLength(250);
  });
});
