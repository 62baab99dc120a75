// The state of a schedule over all replicas: one document of the state. A replica wins a slot by moving
// `lastSlot` on to it. The same update stores the id of the request, so that any replica can insert the same
// request if the winner dies first.
import type { mongo } from 'mongoose';
import { mongoTime } from '../mongo/clock.js';
import { againOnDuplicate, isDuplicateKey, persistently } from '../mongo/faults.js';
import { type OurDatabase, type StateDocument, stateIds, stateOf } from '../mongo/sync-state.js';
import { newRequest } from '../requests/parse.js';
import { requestedByCron, requestsOf } from '../requests/request.js';

/** A decided slot and the replica that won it. `requestId` is null if the slot was skipped. */
export interface DecidedSlot {
  readonly slot: Date;
  readonly owner: string;
  readonly requestId: mongo.ObjectId | null;
}

export interface ScheduleState {
  readonly expression: string;
  readonly timezone: string;
  readonly lastSlot: Date;
  readonly decided?: DecidedSlot;
  /** The request of a slot that was won; perhaps it is not inserted yet. */
  readonly inserting?: mongo.ObjectId;
}

export class SlotState {
  readonly #id: string;

  readonly #state: mongo.Collection<StateDocument>;

  constructor(
    private readonly database: OurDatabase,
    schedule: string,
  ) {
    this.#id = stateIds.schedule(schedule);
    this.#state = stateOf(database);
  }

  /** The state, and MongoDB's time. */
  async read(
    signal: AbortSignal,
  ): Promise<{ readonly now: Date; readonly state: ScheduleState | undefined }> {
    return this.#persist('reading the schedule', signal, async () => {
      const now = await mongoTime(this.database.db);
      const found = await this.#state.findOne({ _id: this.#id });
      return { now, state: (found ?? undefined) as ScheduleState | undefined }; // only this class writes it
    });
  }

  /**
   * Stores the expression, with its latest slot as `lastSlot`: earlier slots are not caught up. Never moves
   * `lastSlot` back.
   */
  async adopt(expression: string, timezone: string, latest: Date, signal: AbortSignal): Promise<void> {
    const change = { $set: { expression, timezone }, $max: { lastSlot: latest } };
    await this.#persist('setting up the schedule', signal, () =>
      againOnDuplicate(() => this.#state.updateOne({ _id: this.#id }, change, { upsert: true })),
    );
  }

  /** Moves back a `lastSlot` that is in the future because MongoDB's clock was wrong. */
  async rewind(from: Date, to: Date, signal: AbortSignal): Promise<void> {
    await this.#persist('setting back the schedule', signal, () =>
      this.#state.updateOne({ _id: this.#id, lastSlot: from }, { $set: { lastSlot: to } }),
    );
  }

  /**
   * True for the one replica that moves `lastSlot` on to this slot, also when the response to an earlier try
   * was lost. If the request of an earlier slot is not inserted yet, it is inserted first.
   */
  async win(decided: DecidedSlot, signal: AbortSignal): Promise<boolean> {
    const { slot, owner, requestId } = decided;
    const isOpen = { _id: this.#id, lastSlot: { $lt: slot } };
    const won = {
      _id: this.#id,
      'decided.slot': slot,
      'decided.owner': owner,
      'decided.requestId': requestId,
    };
    return this.#persist('winning a slot', signal, async () => {
      for (;;) {
        const set = { lastSlot: slot, decided, ...(requestId && { inserting: requestId }) };
        const { matchedCount } = await this.#state.updateOne({ ...isOpen, inserting: null }, { $set: set });
        if (matchedCount === 1) return true;
        const open = await this.#state.findOne(isOpen, { projection: { inserting: 1 } });
        if (!open) return (await this.#state.countDocuments(won)) === 1;
        // Only this class writes it.
        if (open['inserting']) await this.complete(open['inserting'] as mongo.ObjectId, signal);
      }
    });
  }

  /**
   * Inserts the request of a slot that was won, and clears `inserting`. Idempotent: the request's `_id` is
   * fixed.
   */
  async complete(requestId: mongo.ObjectId, signal: AbortSignal): Promise<void> {
    await this.#persist("inserting the schedule's request", signal, async () => {
      // The winner may have been paused for long: a request that another replica inserted may have run and
      // expired since.
      const isDue = await this.#state.countDocuments({ _id: this.#id, inserting: requestId });
      if (isDue === 0) return;
      try {
        const request = newRequest({ command: 'syncAll', requestedBy: requestedByCron }, requestId);
        await requestsOf(this.database).insertOne(request);
      } catch (error) {
        if (!isDuplicateKey(error)) throw error;
      }
      await this.#state.updateOne({ _id: this.#id, inserting: requestId }, { $unset: { inserting: 1 } });
    });
  }

  /**
   * Whether a writing scan is active: running, due, or requeued by a daemon to run within `withinMs`. A scan
   * with a user's `runAt` is not active before that time.
   */
  async isScanAtWork(withinMs: number, signal: AbortSignal): Promise<boolean> {
    const scan = { command: 'syncAll', dryRun: { $ne: true }, cancel: { $ne: true } };
    const isWaiting = { status: { $in: ['pending', null] } };
    const isSoon = { $expr: { $lte: ['$runAt', { $add: ['$$NOW', withinMs] }] } };
    const wasRequeued = {
      // If a user requeued an ended request by hand, these fields belong to its previous run.
      finishedAt: null,
      $or: [
        { attempts: { $gt: 0 } },
        { 'history.0': { $exists: true } },
        { 'error.code': 'read_allowance_used' },
      ],
    };
    const isAtWork = {
      ...scan,
      $or: [
        { status: 'running' },
        { ...isWaiting, $expr: { $lte: ['$runAt', '$$NOW'] } },
        { ...isWaiting, ...isSoon, ...wasRequeued },
      ],
    };
    return this.#persist(
      'looking for the last scan',
      signal,
      async () => (await requestsOf(this.database).findOne(isAtWork, { projection: { _id: 1 } })) !== null,
    );
  }

  /** Retries for at most the time until the next check. */
  async #persist<T>(doing: string, signal: AbortSignal, step: () => Promise<T>): Promise<T> {
    return persistently(doing, step, { withinMs: 5_000, signal });
  }
}
