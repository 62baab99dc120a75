// Laws of one full scan against the simulator as the model: whatever the windows, the mirror is the same, and it is written no more than
// Stripe has changed. SCAN_LAWS_SEED runs the stories of another seed; the name of each test tells its own.
import { randomInt } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CustomerObject } from 'stripe-simulator';
import type { MirrorWrite } from '../../src/sync/ports.js';
import { newCheckpoint, type WindowState } from '../../src/sync/scan/state.js';
import { freshDatabase } from '../support/database.js';
import { openScanBench, type ScanBench } from '../support/scan.js';

const given = process.env['SCAN_LAWS_SEED'];
const seeds = given === undefined ? [20_261_124, randomInt(2 ** 31)] : [Number(given)];
const removals = { maxRatio: 1, maxCount: 10_000 };

interface Changes {
  readonly update: readonly number[];
  readonly delete: readonly number[];
  readonly create: readonly number[];
}

const picks = fc.array(fc.nat(10_000), { maxLength: 12 });
const changes: fc.Arbitrary<Changes> = fc.record({ update: picks, delete: picks, create: picks });

/** Changes Stripe. Returns how often each customer was changed. */
function change({ simulator }: ScanBench, { update, delete: gone, create }: Changes): Map<string, number> {
  const changed = new Map<string, number>();
  const count = (id: string): void => void changed.set(id, (changed.get(id) ?? 0) + 1);
  const pick = (number: number): string | undefined => {
    const ids = simulator.listIds();
    return ids[number % Math.max(1, ids.length)];
  };
  for (const number of update) {
    const id = pick(number);
    if (id === undefined) continue;
    const { metadata } = simulator.get(id) as CustomerObject; // listed, hence no deleted one
    simulator.update(id, { metadata: { version: String(Number(metadata['version'] ?? 0) + 1) } });
    count(id);
  }
  for (const number of gone) {
    const id = pick(number);
    if (id === undefined) continue;
    simulator.delete(id);
    count(id);
  }
  for (const age of create) count(simulator.create({ created: simulator.clock.seconds() - age * 1_000 }).id);
  return changed;
}

/** A mirror that counts what it has written of each customer. */
function counting(bench: ScanBench): { mirror: ScanBench['mirror']; written: Map<string, number> } {
  const written = new Map<string, number>();
  const mirror: ScanBench['mirror'] = {
    ...bench.mirror,
    write: async (writes: readonly MirrorWrite[]) => {
      const results = await bench.mirror.write(writes);
      writes.forEach(({ id }, index) => {
        if (results[index]?.kind === 'written') written.set(id, (written.get(id) ?? 0) + 1);
      });
      return results;
    },
  };
  return { mirror, written };
}

/** Has the next scan of this name begin with windows that are cut at these seconds, wherever they lie. */
async function cutAt(
  { state, source }: ScanBench,
  requestId: string,
  seconds: readonly number[],
): Promise<void> {
  const cuts = [...new Set(seconds.filter((second) => second > 0))].sort((a, b) => a - b);
  const windows = [0, ...cuts].map((gte, index): WindowState => ({
    gte,
    lt: cuts[index] ?? null,
    settledFrom: null,
    cursor: null,
    openIds: [],
    done: false,
  }));
  const { apiVersion, livemode } = source;
  const checkpoint = newCheckpoint(`cut ${requestId}`, {
    requestId,
    apiVersion,
    livemode,
    nowMs: Date.now(),
  });
  await state.begin('cutter');
  await state.save('cutter', { ...checkpoint, windows });
}

describe.each(seeds)('of a full scan, with seed %i', (seed) => {
  it('any windows give the same mirror, and write each changed customer once and no other', async () => {
    const second = fc.oneof(
      fc.integer({ min: 0, max: 100_000 }).map((back) => Math.floor(Date.now() / 1_000) - back * 1_000),
      fc.constant(-1), // becomes the second that many share
    );
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1_000),
        changes,
        fc.array(second, { maxLength: 12 }),
        async (dataSeed, story, cuts) => {
          const bench = await openScanBench(freshDatabase(), {
            seed: { count: 320, distribution: 'same-second', seed: dataSeed },
          });
          await bench.scan({ requestId: 'before' });
          const createdAt = bench.simulator.list().map(({ created }) => created);
          const crowded = createdAt.find((created, index) => createdAt[index + 1] === created) ?? 0;
          const changed = change(bench, story);
          const { mirror, written } = counting(bench);

          await cutAt(
            bench,
            'cut',
            cuts.flatMap((cut) => (cut < 0 ? [crowded, crowded + 1] : [cut])),
          );
          const report = await bench.scan({ requestId: 'cut', mirror, removals });

          expect(report.isResumed).toBe(true);
          expect(await bench.differences()).toEqual([]);
          const expected = [...changed.keys()].sort();
          expect([...written.keys()].sort()).toEqual(expected);
          expect([...written.values()].filter((times) => times !== 1)).toEqual([]);
        },
      ),
      { numRuns: 5, endOnFailure: true, seed },
    );
  });

  it('writes a customer no more often than it changed while it ran', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1_000),
        fc.array(changes, { minLength: 1, maxLength: 8 }),
        async (dataSeed, stories) => {
          const bench = await openScanBench(freshDatabase(), {
            seed: { count: 420, distribution: 'growth', seed: dataSeed },
            latency: { ms: 5, jitterMs: 5, computeAt: 'random' },
            randomSeed: dataSeed,
          });
          await bench.scan({ requestId: 'before' });
          const { mirror, written } = counting(bench);
          const changed = new Map<string, number>();
          const left = [...stories];
          const source: ScanBench['source'] = {
            ...bench.source,
            list: (query, options) => {
              const story = left.shift();
              const made = story ? change(bench, story) : new Map<string, number>();
              for (const [id, times] of made) changed.set(id, (changed.get(id) ?? 0) + times);
              return bench.source.list(query, options);
            },
          };

          await bench.scan({ requestId: 'during', mirror, source, removals });

          for (const [id, times] of written) {
            expect({ id, times, isExplained: times <= (changed.get(id) ?? 0) }).toEqual({
              id,
              times,
              isExplained: true,
            });
          }
          await bench.scan({ requestId: 'after', removals });
          expect(await bench.differences()).toEqual([]);
        },
      ),
      { numRuns: 4, endOnFailure: true, seed },
    );
  });
});
