// The laws that the mirror stands for, against a real MongoDB and the simulator: whatever happens in whatever order, a customer never
// goes back in time, a confirmed deletion stays, and once Stripe rests one complete scan makes mirror and Stripe the same.
import fc from 'fast-check';
import type { mongo } from 'mongoose';
import { expect, it } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { syncBatch } from '../../src/sync/batch.js';
import { syncByIds } from '../../src/sync/by-ids.js';
import { softDelete } from '../../src/sync/deletion.js';
import { isStripeId } from '../../src/sync/ports.js';
import { freshDatabase } from '../support/database.js';
import { Life, openScanBench, type ScanBench } from '../support/scan.js';

type Step =
  | { readonly kind: 'create'; readonly age: number }
  | { readonly kind: 'update' | 'delete' | 'byIds' | 'batch' | 'part' | 'mark'; readonly pick: number }
  | { readonly kind: 'scan'; readonly windows: number; readonly dieAfter: number | undefined };

/** The same few stories on every run of the suite; with CONVERGENCE_RUNS so many new ones, or those of CONVERGENCE_SEED. */
const runs = Number(process.env['CONVERGENCE_RUNS'] ?? 12);
const seedOfFailure = process.env['CONVERGENCE_SEED'];
const isFixed = process.env['CONVERGENCE_RUNS'] === undefined;
const seed = seedOfFailure !== undefined ? Number(seedOfFailure) : isFixed ? 20_261_124 : undefined;

const pick = fc.nat(1_000);
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('create' as const), age: fc.constantFrom(0, 0, 1, 5_000) }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constantFrom('update' as const, 'update' as const, 'delete' as const),
        pick,
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constantFrom('byIds' as const, 'batch' as const, 'part' as const, 'mark' as const),
        pick,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('scan' as const),
        windows: fc.integer({ min: 1, max: 4 }),
        dieAfter: fc.option(fc.nat(200), { nil: undefined }),
      }),
    },
  ),
  { minLength: 30, maxLength: 120 },
);

/**
 * When a caller says that its batch was true: this very moment, on the clock that MongoDB and the simulator here share. At the first
 * instant of a millisecond, since a claim has no finer digits: whatever the simulator, which shares this thread, has computed before
 * lies in an earlier millisecond. A claim that is wrong by more would be a caller's lie, against which no law holds.
 */
function nextClaim(): Date {
  const before = Date.now();
  let now = before;
  while (now === before) now = Date.now();
  return new Date(now);
}

/** Does one step; those of ours run on beside the steps that follow. */
function take(bench: ScanBench, step: Step): Promise<unknown> | undefined {
  const { simulator, mirror, source, clock } = bench;
  const signal = new AbortController().signal;
  const ids = simulator.listIds();
  // A few customers get most of it, so that reads and changes of one overlap.
  const reach = 'pick' in step && step.pick % 4 > 0 ? 3 : ids.length;
  const id = 'pick' in step ? ids[step.pick % Math.max(1, Math.min(reach, ids.length))] : undefined;
  const held = id === undefined ? undefined : simulator.get(id);
  const context = async () => {
    const { earliest } = await clock.interval();
    return { object: 'customer', livemode: false, observedAt: earliest, signal };
  };
  switch (step.kind) {
    case 'create':
      simulator.create({ created: simulator.clock.seconds() - step.age, metadata: { version: '0' } });
      return undefined;
    case 'update':
      if (held && 'metadata' in held) {
        simulator.update(held.id, {
          metadata: { version: String(Number(held.metadata['version'] ?? 0) + 1) },
        });
      }
      return undefined;
    case 'delete':
      if (id !== undefined) simulator.delete(id);
      return undefined;
    case 'byIds':
      return isStripeId(id) ? syncByIds(source, mirror, [id], { signal, concurrency: 1 }) : undefined;
    case 'batch':
      return (
        held &&
        syncBatch(mirror, [held], { object: 'customer', livemode: false, observedAt: nextClaim(), signal })
      );
    case 'part':
      return id === undefined
        ? undefined
        : context().then((at) => syncBatch(mirror, [{ id, description: 'part' }], at));
    case 'mark':
      return isStripeId(id)
        ? context().then(({ observedAt }) => softDelete(mirror, id, { from: observedAt, to: observedAt }))
        : undefined;
    case 'scan':
      return scanOrDie(bench, step);
  }
}

/** A scan whose process may be killed after some writes: it saves nothing more, and never learns that the last write was done. */
async function scanOrDie(
  bench: ScanBench,
  { windows, dieAfter }: Extract<Step, { kind: 'scan' }>,
): Promise<void> {
  const life = new Life();
  let written = 0;
  const mirror: typeof bench.mirror = {
    ...bench.mirror,
    write: async (writes) => {
      const results = await bench.mirror.write(writes);
      written += writes.length;
      if (dieAfter !== undefined && written >= dieAfter) life.end();
      return results;
    },
  };
  try {
    await bench.scan({
      source: life.portOf(bench.source),
      mirror: life.portOf(mirror),
      state: life.portOf(bench.state),
      listsAtOnce: windows,
      requestId: `scan ${windows}`,
    });
  } catch (error) {
    // Another scan of this run took over, or it was killed as it was told to be.
    if (!life.isOver && !(error instanceof Fault && error.code === 'lease_lost')) throw error;
  }
}

/** Records every state that each customer has in the mirror from now on, in order, as it was written. */
async function record(bench: ScanBench) {
  const documents = bench.db.collection<{ _id: string }>('stripe_customers');
  // Post-images: a look-up would show the state at the time of looking.
  await bench.db.command({ collMod: 'stripe_customers', changeStreamPreAndPostImages: { enabled: true } });
  const stream = documents.watch([], { fullDocument: 'required' });
  await stream.tryNext();
  return async (): Promise<Map<string, mongo.Document[]>> => {
    await documents.insertOne({ _id: 'end' });
    await documents.deleteOne({ _id: 'end' });
    const history = new Map<string, mongo.Document[]>();
    for await (const change of stream) {
      if (change.operationType === 'delete') break;
      if (!('fullDocument' in change)) continue;
      const { _id } = change.fullDocument;
      if (_id === 'end') continue;
      history.set(_id, [...(history.get(_id) ?? []), change.fullDocument]);
    }
    await stream.close();
    return history;
  };
}

it(
  'any interleaving of changes, scans, crashes, requests and batches converges, and nobody goes back in time',
  { timeout: 60_000 + runs * 10_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(1_000), async (story, randomSeed) => {
        const bench = await openScanBench(freshDatabase(), {
          seed: { count: 230, distribution: 'same-second', seed: randomSeed },
          latency: { ms: 8, jitterMs: 8, computeAt: 'random' },
          randomSeed,
        });
        await bench.scan({ requestId: 'backfill' });
        const recorded = await record(bench);

        const running = new Set<Promise<unknown>>();
        for (const step of story) {
          const work = take(bench, step);
          if (!work) continue;
          const ended = work.finally(() => running.delete(ended));
          running.add(ended);
          // Up to six overlap; as one of them ends the story goes on.
          if (running.size >= 6) await Promise.race(running);
        }
        await Promise.all(running);
        await bench.scan({ requestId: 'last', removals: { maxRatio: 1, maxCount: 1_000 } });
        const history = await recorded();

        expect(await bench.differences()).toEqual([]);
        for (const [id, states] of history) {
          const versions = states.map(({ metadata }) =>
            Number((metadata as Record<string, string> | undefined)?.['version'] ?? 0),
          );
          expect({ id, versions }).toEqual({ id, versions: [...versions].sort((a, b) => a - b) });
          const confirmed = states.findIndex(
            ({ _sync }) => (_sync as mongo.Document)['deletedBy'] === 'stripe',
          );
          if (confirmed >= 0) {
            const later = states.slice(confirmed);
            expect(later.every(({ _sync }) => (_sync as mongo.Document)['deletedBy'] === 'stripe')).toBe(
              true,
            );
          }
        }
      }),
      { numRuns: runs, endOnFailure: true, ...(seed !== undefined && { seed }) },
    );
  },
);
