// The scan lease: one document of the state for each kind of object, so that only one replica scans at a
// time.
import type { mongo } from 'mongoose';
import { Fault } from '../base/errors.js';
import { pause } from '../base/waiting.js';
import { isDuplicateKey, persistently, toMongoFault } from '../mongo/faults.js';
import { type OurDatabase, type StateDocument, stateIds, stateOf } from '../mongo/sync-state.js';
import { type Filter, leaseEnd, literal } from './expressions.js';
import type { RequestId } from './request.js';

/** The scan lease, held by this process. */
export interface HeldScanLease {
  readonly fence: number;
  /** `performance.now()` until which it certainly holds. */
  readonly untilMs: number;
}

/**
 * Waits until no other scan runs on the database, then runs the task under the scan lease. If the lease is
 * lost, the task's signal is aborted with the Fault `lease_lost`, and `assertHeld` throws it. `assertHeld`
 * also covers the moments before the signal: a process that was paused gets responses before its own timers
 * fire.
 */
export type Exclusively = <T>(
  signal: AbortSignal,
  task: (signal: AbortSignal, assertHeld: () => void) => Promise<T>,
) => Promise<T>;

const releaseWithinMs = 10_000;
/** How often to ask again for a lease that another process holds. */
const retryMs = 500;

export class ScanLease {
  constructor(
    private readonly database: OurDatabase,
    private readonly owner: string,
    private readonly leaseMs: number,
  ) {}

  /** Takes the lease if nobody holds it, by MongoDB's clock. */
  async acquire(): Promise<HeldScanLease | undefined> {
    const lease = await this.#take();
    if (lease || (await this.#state.findOne({ _id: this.#id }, { projection: { _id: 1 } }))) return lease;
    // The first scan ever: an upsert could not compare with the clock ($expr is not allowed there).
    await this.#create();
    return this.#take();
  }

  async #take(): Promise<HeldScanLease | undefined> {
    const sentAtMs = performance.now();
    // Released, or expired. MongoDB's clock may be behind the time of the release.
    const isFree: Filter = {
      $or: [{ owner: null }, { $expr: { $not: [{ $gt: ['$expiresAt', '$$NOW'] }] } }],
    };
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

  /** Extends the lease by `leaseMs`; false if another process holds it. */
  async renew({ fence }: HeldScanLease, requestId: RequestId | null): Promise<boolean> {
    const { matchedCount } = await this.#state.updateOne(this.#held(fence), [
      { $set: { expiresAt: leaseEnd(this.leaseMs), requestId: literal(requestId) } },
    ]);
    return matchedCount === 1;
  }

  /** Releases the lease. If MongoDB does not answer, the lease expires by itself. */
  async release({ fence }: HeldScanLease, signal?: AbortSignal): Promise<void> {
    await persistently(
      'releasing the scan lease',
      () =>
        this.#state.updateOne(this.#held(fence), [
          { $set: { owner: null, expiresAt: '$$NOW', requestId: null } },
        ]),
      { withinMs: releaseWithinMs, ...(signal && { signal }) },
    );
  }

  /** For those who scan without a request. See `Exclusively`. */
  readonly exclusively: Exclusively = async (outer, task) => {
    const lease = await this.#waitFor(outer);
    const done = new AbortController();
    const lost = new AbortController();
    const held = { ...lease };
    const keepers = [this.#keep(held, done.signal), watch(held, done.signal)].map((keeper) =>
      keeper.catch((error: unknown) => lost.abort(error)),
    );
    try {
      return await task(AbortSignal.any([outer, lost.signal]), () => {
        if (performance.now() >= held.untilMs) throw leaseLost();
        lost.signal.throwIfAborted();
      });
    } finally {
      done.abort();
      await Promise.all(keepers);
      // If MongoDB refuses the release, the lease expires by itself. The task's work stays valid.
      await this.release(lease).catch(() => undefined);
    }
  };

  async #waitFor(signal: AbortSignal): Promise<HeldScanLease> {
    for (;;) {
      signal.throwIfAborted();
      const lease = await this.acquire().catch((error: unknown) => {
        throw toMongoFault(error, 'asking for the scan lease');
      });
      if (lease) return lease;
      await pause(retryMs, signal);
    }
  }

  /** Renews until `done`; a failed renewal is repeated. */
  async #keep(held: { readonly fence: number; untilMs: number }, done: AbortSignal): Promise<void> {
    while (await pause(this.leaseMs / 3, done)) {
      const sentAtMs = performance.now();
      const isHeld = await this.renew(held, null).catch(() => undefined);
      if (isHeld === false) throw leaseLost();
      if (isHeld) held.untilMs = sentAtMs + this.leaseMs;
    }
  }

  #held(fence: number): Filter {
    return { _id: this.#id, owner: this.owner, fence };
  }

  get #id(): string {
    return stateIds.scanLease;
  }

  get #state(): mongo.Collection<StateDocument> {
    return stateOf(this.database);
  }
}

/** Throws when the lease has expired by this process's own clock: from then on another process may scan. */
async function watch(held: { readonly untilMs: number }, done: AbortSignal): Promise<void> {
  do {
    if (performance.now() >= held.untilMs) throw leaseLost();
  } while (await pause(held.untilMs - performance.now(), done));
}

const leaseLost = (): Fault => new Fault('lease_lost', 'The scan lease was lost');
