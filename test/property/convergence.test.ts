// The laws that the mirror stands for, against a real MongoDB and the simulator: whatever happens in whatever order, a customer never
// goes back in time, in none of its fields, a confirmed deletion stays, and once Stripe rests one complete scan makes mirror and Stripe the same.
import fc from 'fast-check';
import type { mongo } from 'mongoose';
import type { CustomerObject, DeletedCustomerObject } from 'stripe-simulator';
import { expect, it } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { syncByIds } from '../../src/sync/by-ids.js';
import { softDelete } from '../../src/sync/deletion.js';
import { isStripeId, type Mirror } from '../../src/sync/ports.js';
import type { Telling } from '../../src/sync/telling.js';
import { freshDatabase } from '../support/database.js';
import { datedAs, insertedAs, mirrorIn, takeBatch } from '../support/mirror.js';
import { Life, openScanBench, type ScanBench } from '../support/scan.js';
import { until } from '../support/until.js';

/** What changes at Stripe; `name` and `phone` come back to what they were, the version in `metadata` does not. */
const fields = ['metadata', 'name', 'phone'] as const;
type Field = (typeof fields)[number];

type Step =
  | { readonly kind: 'create'; readonly age: number }
  | { readonly kind: 'update'; readonly pick: number; readonly field: Field }
  | { readonly kind: 'delete' | 'byIds' | 'mark'; readonly pick: number }
  | {
      /** A batch is inserted, and waits. */
      readonly kind: 'insert';
      readonly pick: number;
      readonly what: 'whole' | Field | 'description';
      readonly how: 'stamped' | 'dated' | 'without a stamp';
    }
  /** One of the batches that wait is applied, whichever it is. `again`: its process died before it could say so. */
  | { readonly kind: 'apply'; readonly pick: number; readonly again: boolean }
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
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('update' as const),
        pick,
        field: fc.constantFrom(...fields),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constantFrom('delete' as const, 'byIds' as const, 'byIds' as const, 'mark' as const),
        pick,
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('insert' as const),
        pick,
        what: fc.constantFrom('whole', 'whole', ...fields, 'description' as const),
        how: fc.constantFrom('stamped', 'stamped', 'stamped', 'dated', 'without a stamp' as const),
      }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('apply' as const),
        pick,
        again: fc.nat(3).map((nth) => nth === 0),
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

type Customer = CustomerObject | DeletedCustomerObject;

interface Batch {
  readonly entries: readonly object[];
  readonly told: Telling;
}

/** What a story is about: Stripe, with all that it has ever said of each field, two replicas, and batches that wait for one. */
class Story {
  readonly waiting: Batch[] = [];
  readonly replicas: readonly Mirror[];
  /** By `id field`, the values in order. */
  readonly said = new Map<string, string[]>();
  #place = 0;

  constructor(readonly bench: ScanBench) {
    this.replicas = [bench.mirror, mirrorIn(bench.db)];
    for (const customer of bench.simulator.list()) this.#note(customer);
  }

  create(age: number): void {
    const { simulator } = this.bench;
    const created = simulator.clock.seconds() - age;
    this.#note(simulator.create({ created, name: 'X', phone: 'X', metadata: { version: '0' } }));
  }

  update(held: Customer, field: Field): void {
    if (!('metadata' in held)) return;
    const version = String(Number(held.metadata['version'] ?? 0) + 1);
    const to = held[field] === 'X' ? 'Y' : 'X';
    this.bench.simulator.update(held.id, field === 'metadata' ? { metadata: { version } } : { [field]: to });
    this.#note(this.bench.simulator.get(held.id));
  }

  /** The batch has the state of this very moment, on the clock that MongoDB and the simulator here share. */
  insert(held: Customer, { what, how }: Extract<Step, { kind: 'insert' }>): void {
    this.#place += 1;
    // What a caller dates lies alone in its millisecond: a date has no finer digits.
    const now = how === 'dated' ? nextMillisecond() : Date.now();
    const second = Math.floor(now / 1_000) * 1_000;
    const told = {
      stamped: insertedAs(this.#place, now),
      dated: datedAs(this.#place, now),
      'without a stamp': { from: new Date(second), to: new Date(second + 1_000) },
    }[how];
    if (how === 'dated') nextMillisecond();
    const part = { id: held.id, [what]: what === 'description' ? 'part' : held[what as keyof Customer] };
    this.waiting.push({ entries: [what === 'whole' ? held : part], told });
  }

  apply({ entries, told }: Batch, replica: number): Promise<unknown> {
    const mirror = this.replicas[replica % this.replicas.length]!;
    return takeBatch(mirror, entries, told, { scans: this.bench.state });
  }

  #note(customer: Customer | undefined): void {
    if (customer === undefined || !('metadata' in customer)) return;
    for (const field of fields) {
      const key = `${customer.id} ${field}`;
      this.said.set(key, withNext(this.said.get(key) ?? [], valueOf(customer, field)));
    }
  }
}

function nextMillisecond(): number {
  const before = Date.now();
  let now = before;
  while (now === before) now = Date.now();
  return now;
}

/** Two states of `metadata` are told apart by the version. */
const valueOf = (stored: object, field: Field): string | undefined =>
  JSON.stringify((stored as Record<Field, unknown>)[field]);

const withNext = (values: readonly string[], value: string | undefined): string[] =>
  value === undefined || value === values.at(-1) ? [...values] : [...values, value];

/** Does one step; those of ours run on beside the steps that follow. */
function take(story: Story, step: Step): Promise<unknown> | undefined {
  const { simulator, source } = story.bench;
  const ids = simulator.listIds();
  // A few customers get most of it, so that reads and changes of one overlap.
  const reach = 'pick' in step && step.pick % 4 > 0 ? 3 : ids.length;
  const id = 'pick' in step ? ids[step.pick % Math.max(1, Math.min(reach, ids.length))] : undefined;
  const held = id === undefined ? undefined : simulator.get(id);
  const mirror = story.replicas['pick' in step ? step.pick % 2 : 0]!;
  switch (step.kind) {
    case 'create':
      story.create(step.age);
      return undefined;
    case 'update':
      if (held) story.update(held, step.field);
      return undefined;
    case 'delete':
      if (id !== undefined) simulator.delete(id);
      return undefined;
    case 'byIds': {
      const { signal } = new AbortController();
      return isStripeId(id) ? syncByIds(source, mirror, [id], { signal, concurrency: 1 }) : undefined;
    }
    case 'insert':
      if (held) story.insert(held, step);
      return undefined;
    case 'apply': {
      const at = step.pick % Math.max(1, story.waiting.length);
      const [batch] = step.again ? story.waiting.slice(at, at + 1) : story.waiting.splice(at, 1);
      return batch && story.apply(batch, step.pick);
    }
    case 'mark':
      return isStripeId(id) ? softDelete(mirror, id) : undefined;
    case 'scan':
      return scanOrDie(story, step);
  }
}

/** A scan whose process may be killed after some writes: it saves nothing more, and never learns that the last write was done. */
async function scanOrDie(
  { bench }: Story,
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

/** The states that the mirror has had of a field, where they are not some of those that Stripe has had, in its order. */
function backInTime(said: readonly string[], shown: readonly mongo.Document[], field: Field): string[] {
  const seen = shown.reduce<string[]>((values, stored) => withNext(values, valueOf(stored, field)), []);
  let at = -1;
  const isInOrder = seen.every((value) => (at = said.indexOf(value, at + 1)) >= 0);
  return isInOrder ? [] : seen;
}

it(
  'any interleaving of changes, scans, crashes, requests and batches converges, and nobody goes back in time',
  { timeout: 60_000 + runs * 10_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(1_000), async (told, randomSeed) => {
        const bench = await openScanBench(freshDatabase(), {
          seed: { count: 230, distribution: 'same-second', seed: randomSeed },
          latency: { ms: 8, jitterMs: 8, computeAt: 'random' },
          randomSeed,
        });
        await bench.scan({ requestId: 'backfill' });
        const recorded = await record(bench);
        const story = new Story(bench);

        const running = new Set<Promise<unknown>>();
        const run = async (work: Promise<unknown> | undefined): Promise<void> => {
          if (!work) return;
          const ended = work.finally(() => running.delete(ended));
          running.add(ended);
          // Up to six overlap; as one of them ends the story goes on.
          if (running.size >= 6) await Promise.race(running);
        };
        for (const step of told) await run(take(story, step));
        // Some batches are late: they tell of a time before the last scan, and are worked on after it.
        const isLate = ({ told }: Batch, index: number): boolean =>
          index % 3 === 0 && told.position !== undefined;
        const late = story.waiting.filter(isLate);
        const inTime = story.waiting.filter((batch, index) => !isLate(batch, index));
        for (const [index, batch] of inTime.reverse().entries()) await run(story.apply(batch, index));
        await Promise.all(running);
        const lastToldAt = Math.max(0, ...late.map(({ told }) => told.to.getTime()));
        await until(async () => (await bench.clock.interval()).earliest.getTime() > lastToldAt, {
          what: 'a later moment than the last batch tells of',
          timeoutMs: 10_000,
        });
        await bench.scan({ requestId: 'last', removals: { maxRatio: 1, maxCount: 1_000 } });
        expect(await bench.differences()).toEqual([]);
        await Promise.all(late.map((batch, index) => story.apply(batch, index)));
        const history = await recorded();

        expect(await bench.differences()).toEqual([]);
        for (const [id, states] of history) {
          for (const field of fields) {
            const said = story.said.get(`${id} ${field}`) ?? [];
            expect({ id, field, said, shown: backInTime(said, states, field) }).toMatchObject({ shown: [] });
          }
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
