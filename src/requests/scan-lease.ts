// The right to scan: one document of sync_state for each kind of object, so that of all replicas one scans at a time.
import type { Connection, mongo } from 'mongoose';
import { type StateDocument, stateOf } from './collection.js';
import type { RequestId } from './document.js';
import { type Filter, leaseEnd, literal } from './expressions.js';
import { isDuplicateKey, persistently } from '../mongo-faults.js';

/** The right to scan, held by this process. */
export interface ScanRight {
  readonly fence: number;
  /** `performance.now()` until which it certainly holds. */
  readonly untilMs: number;
}

const releaseWithinMs = 10_000;

export class ScanLease {
  constructor(
    private readonly connection: Connection,
    private readonly owner: string,
    private readonly leaseMs: number,
    private readonly object = 'customer',
  ) {}

  /** Takes the right if nobody holds it, by MongoDB's clock. */
  async acquire(): Promise<ScanRight | undefined> {
    const right = await this.#take();
    if (right || (await this.#state.findOne({ _id: this.#id }, { projection: { _id: 1 } }))) return right;
    // The first scan ever: an upsert could not compare with the clock ($expr is not allowed there).
    await this.#create();
    return this.#take();
  }

  async #take(): Promise<ScanRight | undefined> {
    const sentAtMs = performance.now();
    const isFree: Filter = { $expr: { $not: [{ $gt: ['$expiresAt', '$$NOW'] }] } };
    const found = await this.#state.findOneAndUpdate(
      { _id: this.#id, ...isFree },
      [
        {
          $set: {
            owner: literal(this.owner),
            fence: { $add: [{ $ifNull: ['$fence', 0] }, 1] },
            expiresAt: leaseEnd(this.leaseMs),
            requestId: null,
          },
        },
      ],
      { returnDocument: 'after', projection: { fence: 1 } },
    );
    return found ? { fence: Number(found['fence']), untilMs: sentAtMs + this.leaseMs } : undefined;
  }

  async #create(): Promise<void> {
    try {
      await this.#state.insertOne({ _id: this.#id });
    } catch (error) {
      // Another replica was first.
      if (!isDuplicateKey(error)) throw error;
    }
  }

  /** Holds it for another `leaseMs`; false when it is another's. */
  async renew({ fence }: ScanRight, requestId: RequestId | null): Promise<boolean> {
    const { matchedCount } = await this.#state.updateOne(this.#held(fence), [
      { $set: { expiresAt: leaseEnd(this.leaseMs), requestId: literal(requestId) } },
    ]);
    return matchedCount === 1;
  }

  /** Gives it back. Where MongoDB does not answer it runs out by itself. */
  async release({ fence }: ScanRight, signal?: AbortSignal): Promise<void> {
    await persistently(
      'releasing the right to scan',
      () =>
        this.#state.updateOne(this.#held(fence), [
          { $set: { owner: null, expiresAt: '$$NOW', requestId: null } },
        ]),
      { withinMs: releaseWithinMs, ...(signal && { signal }) },
    );
  }

  #held(fence: number): Filter {
    return { _id: this.#id, owner: this.owner, fence };
  }

  get #id(): string {
    return `scan-lease:${this.object}`;
  }

  get #state(): mongo.Collection<StateDocument> {
    return stateOf(this.connection);
  }
}
