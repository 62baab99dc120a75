// The stamps of the follower, written in bulk: by events, and marks on what is older than all events.
import type { mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import { isPassing, persistently } from '../../mongo/faults.js';
import type { OurDatabase } from '../../mongo/sync-state.js';
import type { Insertion } from '../../sync/telling.js';
import type { Known, Seals } from '../insertion.js';
import { type RequestId, requestsOf, requestStatuses, type StoredRequest } from '../request.js';
import { keyOf } from './guarded-updates.js';

export interface InsertedBatch {
  readonly id: RequestId;
  readonly insertion: Insertion;
}

export interface InsertionStampsOptions {
  readonly database: OurDatabase;
  readonly seals: Seals;
  readonly logger: Logger;
}

/** Events that are stamped by one command. */
export const stampedAtOnce = 1_000;
/** Old batches that are marked; others wait for a stamp, each by itself. */
const maxMarked = 100_000;

const hasNoStamp = { 'inserted.seal': { $exists: false } };

interface ToStore {
  readonly id: RequestId;
  readonly known: Known;
}

export class InsertionStamps {
  constructor(private readonly options: InsertionStampsOptions) {}

  /**
   * Stamps those that have no stamp, or a forged one, or one of an earlier insertion.
   * @throws Fault if MongoDB does not answer, or refuses them all
   */
  async stamp(batch: readonly InsertedBatch[]): Promise<void> {
    // Of one id that was inserted again the last event counts.
    const last = new Map(batch.map((each) => [keyOf(each.id), each]));
    const ids = [...last.values()].map(({ id }) => id);
    const stored = await persistently('reading stamps', () =>
      this.#requests.find({ _id: { $in: ids } }, { projection: { inserted: 1 } }).toArray(),
    );
    const missing: ToStore[] = [];
    for (const { _id, inserted } of stored) {
      const told = last.get(keyOf(_id));
      const known = await this.options.seals.read(_id, inserted);
      const isStamped = known && 'token' in known && told && known.token >= told.insertion.token;
      if (told && !isStamped) missing.push({ id: _id, known: told.insertion });
    }
    await this.#store(missing, {});
  }

  /** Batches without a stamp. @throws what the driver throws */
  async withoutStamp(): Promise<readonly RequestId[]> {
    // The index begins with the status.
    const filter = { status: { $in: [null, ...requestStatuses] }, command: 'syncBatch', ...hasNoStamp };
    const found = await this.#requests.find(filter, { projection: { _id: 1 }, limit: maxMarked }).toArray();
    return found.map(({ _id }) => _id);
  }

  /** Marks them as inserted before that time. A mark never replaces a stamp. @throws as `stamp` */
  async mark(ids: readonly RequestId[], before: Date): Promise<void> {
    for (let first = 0; first < ids.length; first += stampedAtOnce) {
      const some = ids.slice(first, first + stampedAtOnce);
      await this.#store(
        some.map((id) => ({ id, known: { before } })),
        hasNoStamp,
      );
    }
  }

  async #store(stamps: readonly ToStore[], guard: mongo.BSON.Document): Promise<void> {
    const operations = stamps.flatMap(({ id, known }) => {
      const inserted = this.options.seals.stampOf(id, known);
      const filter = { _id: { $eq: id }, ...guard };
      return inserted ? [{ updateOne: { filter, update: { $set: { inserted } } } }] : [];
    });
    if (operations.length === 0) return;
    try {
      await persistently('storing stamps', () => this.#requests.bulkWrite(operations, { ordered: false }));
    } catch (error) {
      if (isPassing(error)) throw error;
      if (stamps.length > 1) for (const stamp of stamps) await this.#store([stamp], guard);
      else this.#tellRefusal(stamps[0]?.id, error);
    }
  }

  /** One that MongoDB refuses to update must not stop the others: a claim of it waits in vain, for 2 s. */
  #tellRefusal(requestId: RequestId | undefined, error: unknown): void {
    this.options.logger.warn({ err: error, requestId }, 'MongoDB refuses to stamp a batch');
  }

  get #requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.options.database);
  }
}
