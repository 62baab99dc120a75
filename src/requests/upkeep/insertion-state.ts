// The document of the state on which the order of batches rests: the secret of the stamps, how far the
// stream of insertions has been handled, and which replica handles it. The lease goes by MongoDB's clock.
import { randomBytes } from 'node:crypto';
import type { mongo } from 'mongoose';
import { isDuplicateKey } from '../../mongo/faults.js';
import { type OurDatabase, type StateDocument, stateIds, stateOf } from '../../mongo/sync-state.js';
import { type Expression, type Filter, leaseEnd, literal } from '../expressions.js';

/** A replica that dies is followed after this time at the latest. */
export const followLeaseMs = 5_000;
/** The next replica takes a lease that is over within this time. */
const takeoverMs = 3_000;

export interface HeldFollowLease {
  readonly fence: number;
  /** The resume token after which events have not been handled; undefined before the first. */
  readonly position: unknown;
}

const _id = stateIds.insertionOrder;

/** Over, or longer than any: MongoDB's clock was set back. */
const isFree: Expression = {
  $not: [
    {
      $and: [
        { $gt: ['$expiresAt', '$$NOW'] },
        { $lte: ['$expiresAt', { $add: ['$$NOW', 2 * followLeaseMs] }] },
      ],
    },
  ],
};

export class InsertionState {
  constructor(
    private readonly database: OurDatabase,
    private readonly owner: string,
  ) {}

  /** The secret that seals the stamps; made by whoever comes first. @throws what the driver throws */
  async secret(): Promise<string> {
    const read = async (): Promise<unknown> =>
      (await this.#state.findOne({ _id }, { projection: { secret: 1 } }))?.['secret'];
    for (;;) {
      const secret = await read();
      if (typeof secret === 'string') return secret;
      const made = { secret: randomBytes(32).toString('base64url') };
      await this.#state
        .updateOne({ _id, secret: { $exists: false } }, { $set: made }, { upsert: true })
        .catch((error: unknown) => {
          if (!isDuplicateKey(error)) throw error;
        });
    }
  }

  /** Takes the lease if nobody holds it. The secret must have been read before. */
  async acquire(): Promise<HeldFollowLease | undefined> {
    const found = await this.#state.findOneAndUpdate(
      { _id, $expr: isFree },
      [
        {
          $set: {
            owner: literal(this.owner),
            fence: { $add: [{ $ifNull: ['$fence', 0] }, 1] },
            expiresAt: leaseEnd(followLeaseMs),
          },
        },
      ],
      { returnDocument: 'after', projection: { fence: 1, position: 1 } },
    );
    return found ? { fence: Number(found['fence']), position: found['position'] } : undefined;
  }

  /** Extends the lease and moves the position, if there is one; false if another replica holds it. */
  async advance({ fence }: HeldFollowLease, position: unknown): Promise<boolean> {
    const { matchedCount } = await this.#state.updateOne(this.#held(fence), [
      {
        $set: {
          expiresAt: leaseEnd(followLeaseMs),
          ...(position !== undefined && { position: literal(position) }),
        },
      },
    ]);
    return matchedCount === 1;
  }

  /** @param isForOthers false: no replica can follow */
  async release(
    { fence }: HeldFollowLease,
    { isForOthers }: { readonly isForOthers: boolean },
  ): Promise<void> {
    const expiresAt = isForOthers ? '$$NOW' : null;
    await this.#state.updateOne(this.#held(fence), [{ $set: { owner: null, expiresAt } }]);
  }

  /** The position, and whether a replica follows or is about to. */
  async look(): Promise<{ readonly position: unknown; readonly isFollowed: boolean }> {
    const isFollowed = {
      $and: [
        { $gt: ['$expiresAt', { $subtract: ['$$NOW', takeoverMs] }] },
        { $lte: ['$expiresAt', { $add: ['$$NOW', 2 * followLeaseMs] }] },
      ],
    };
    const found = await this.#state.findOne({ _id }, { projection: { position: 1, isFollowed } });
    return { position: found?.['position'], isFollowed: found?.['isFollowed'] === true };
  }

  #held(fence: number): Filter {
    return { _id, owner: this.owner, fence };
  }

  get #state(): mongo.Collection<StateDocument> {
    return stateOf(this.database);
  }
}
