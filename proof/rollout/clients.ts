// What clients do during a rollout, and what they were told: changes at Stripe, scans, reads by id, whole batches one after the other,
// parts of different fields, and marks. Only ids, and what was acknowledged when, are kept.
import type { mongo } from 'mongoose';
import type { Fleet } from '../../test/support/fleet.js';

/** Customers that Stripe does not have, so that nothing but batches tells of them. */
const ofBatches = 40;

/** One acknowledged insertion of a value of a field. */
export interface Told {
  readonly value: number;
  /** Client's time before and after the insertion. */
  readonly sentMs: number;
  readonly doneMs: number;
  /** Only replicas of this version were at work. */
  readonly isOrdered: boolean;
  /** A part of another field was inserted right after it. */
  readonly isFollowed: boolean;
}

export class Clients {
  /** By id and field. */
  readonly told = new Map<string, Map<string, Told[]>>();
  readonly marked = new Set<string>();
  readonly requests: mongo.ObjectId[] = [];
  #value = 0;

  constructor(private readonly fleet: Fleet) {}

  /** Works in rounds, waits until all requests have ended, and scans once more. */
  async work({ rounds, isOrdered }: { readonly rounds: number; readonly isOrdered: boolean }): Promise<void> {
    const { simulator, user } = this.fleet;
    await user.run({ command: 'syncAll' }); // a mark needs a customer in the mirror
    for (let round = 1; round <= rounds; round += 1) {
      simulator.updateRandom(20);
      simulator.deleteRandom(1);
      const ids = simulator.listIds();
      const some = ids.slice(round * 7, round * 7 + 10);
      await this.#insert({ command: 'syncByIds', ids: some });
      if (round % 3 === 1) await this.#insert({ command: 'syncAll' });
      await this.#mark(ids[round * 3] ?? '');
      for (let index = 0; index < ofBatches; index += 1) {
        const id = `cus_batch${index}`;
        await this.#tell(id, index % 2 === 0 ? 'whole' : 'parts', isOrdered);
      }
    }
    await user.allEnded(this.requests, 180_000);
    await this.#insert({ command: 'syncAll' });
    await user.allEnded(this.requests, 60_000);
  }

  async #tell(id: string, how: 'whole' | 'parts', isOrdered: boolean): Promise<void> {
    const value = (this.#value += 1);
    if (how === 'whole') {
      const entry = { id, object: 'customer', created: 1_700_000_000, livemode: false, balance: value };
      return this.#insertBatch(entry, 'balance', { value, isOrdered, isFollowed: false });
    }
    // Two parts of different fields, one right after the other.
    await this.#insertBatch({ id, name: String(value) }, 'name', { value, isOrdered, isFollowed: true });
    await this.#insertBatch({ id, email: String(value) }, 'email', { value, isOrdered, isFollowed: false });
  }

  async #insertBatch(
    entry: { readonly id: string; readonly [field: string]: unknown },
    field: string,
    told: Pick<Told, 'value' | 'isOrdered' | 'isFollowed'>,
  ): Promise<void> {
    const sentMs = Date.now();
    await this.#insert({ command: 'syncBatch', batch: [entry] });
    const ofId = this.told.get(entry.id) ?? new Map<string, Told[]>();
    this.told.set(entry.id, ofId);
    ofId.set(field, [...(ofId.get(field) ?? []), { ...told, sentMs, doneMs: Date.now() }]);
  }

  async #mark(id: string): Promise<void> {
    if (id === '') return;
    await this.#insert({ command: 'softDelete', stripeId: id });
    this.marked.add(id);
  }

  async #insert(document: object): Promise<void> {
    this.requests.push(...(await this.fleet.user.insert(document as never)));
  }
}
