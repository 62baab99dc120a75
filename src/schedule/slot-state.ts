// What all replicas know of a schedule: one document of sync_state. A slot is won by moving `lastSlot` on; the winner's request is written
// down with it, so that any replica can insert the very same one if the winner dies before it has.
import type { Connection, mongo } from 'mongoose';
import { mongoTime } from '../mongo/clock.js';
import { databaseOf } from '../mongo/connection.js';
import { isDuplicateKey, persistently } from '../mongo/faults.js';
import { type StateDocument, stateIds, stateOf } from '../mongo/sync-state.js';
import { newRequest } from '../requests/parse.js';
import { requestedByCron, requestsOf } from '../requests/request.js';

/** A slot that was decided, and by whom. `requestId` is null where it was skipped. */
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
  /** Won, and perhaps not inserted yet. */
  readonly inserting?: mongo.ObjectId;
}

const persist = { withinMs: 5_000 };

export class SlotState {
  readonly #id: string;

  constructor(
    private readonly connection: Connection,
    schedule: string,
  ) {
    this.#id = stateIds.schedule(schedule);
  }

  /** The state, and MongoDB's time. */
  async read(
    signal: AbortSignal,
  ): Promise<{ readonly now: Date; readonly state: ScheduleState | undefined }> {
    return persistently(
      'reading the schedule',
      async () => {
        const now = await mongoTime(databaseOf(this.connection));
        const found = await this.#state.findOne({ _id: this.#id });
        // Only this class writes them.
        return { now, state: (found ?? undefined) as ScheduleState | undefined };
      },
      { ...persist, signal },
    );
  }

  /** Puts the expression down, with its latest slot as the last one: nothing before is caught up. Never moves `lastSlot` back. */
  async adopt(expression: string, timezone: string, latest: Date, signal: AbortSignal): Promise<void> {
    const set = { expression, timezone };
    await persistently(
      'setting up the schedule',
      async () => {
        try {
          await this.#state.updateOne(
            { _id: this.#id },
            { $set: set, $max: { lastSlot: latest } },
            { upsert: true },
          );
        } catch (error) {
          // Another replica inserted it first; again, it is an update.
          if (!isDuplicateKey(error)) throw error;
          await this.#state.updateOne({ _id: this.#id }, { $set: set, $max: { lastSlot: latest } });
        }
      },
      { ...persist, signal },
    );
  }

  /** Sets a `lastSlot` that lies in the future back: MongoDB's clock was wrong. */
  async rewind(from: Date, to: Date, signal: AbortSignal): Promise<void> {
    await persistently(
      'setting the schedule right',
      () => this.#state.updateOne({ _id: this.#id, lastSlot: from }, { $set: { lastSlot: to } }),
      { ...persist, signal },
    );
  }

  /**
   * True for the one replica that moves `lastSlot` on to this slot, also when the answer to an earlier try was lost. A request of an
   * earlier slot that is not inserted yet goes first.
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
    return persistently(
      'winning a slot',
      async () => {
        for (;;) {
          const set = { lastSlot: slot, decided, ...(requestId && { inserting: requestId }) };
          const { matchedCount } = await this.#state.updateOne({ ...isOpen, inserting: null }, { $set: set });
          if (matchedCount === 1) return true;
          const open = await this.#state.findOne(isOpen, { projection: { inserting: 1 } });
          if (!open) return (await this.#state.countDocuments(won)) === 1;
          // Only this class writes it.
          if (open['inserting']) await this.complete(open['inserting'] as mongo.ObjectId, signal);
        }
      },
      { ...persist, signal },
    );
  }

  /** Inserts the request of a slot that was won, and then forgets it. As often as need be: the `_id` makes it one. */
  async complete(requestId: mongo.ObjectId, signal: AbortSignal): Promise<void> {
    await persistently(
      "inserting the schedule's request",
      async () => {
        // The winner may have been paused for long: what another one has completed may have run and gone since.
        const isDue = await this.#state.countDocuments({ _id: this.#id, inserting: requestId });
        if (isDue === 0) return;
        try {
          const request = newRequest({ command: 'syncAll', requestedBy: requestedByCron }, requestId);
          await requestsOf(this.connection).insertOne(request);
        } catch (error) {
          if (!isDuplicateKey(error)) throw error;
        }
        await this.#state.updateOne({ _id: this.#id, inserting: requestId }, { $unset: { inserting: 1 } });
      },
      { ...persist, signal },
    );
  }

  /**
   * Whether a scan that writes is at work: running, due, or put off by a daemon for no longer than `withinMs`. One that a user has put off
   * is not: its time is its user's wish.
   */
  async isScanAtWork(withinMs: number, signal: AbortSignal): Promise<boolean> {
    const scan = { command: 'syncAll', dryRun: { $ne: true }, cancel: { $ne: true } };
    const isWaiting = { status: { $in: ['pending', null] } };
    const isSoon = { $expr: { $lte: ['$runAt', { $add: ['$$NOW', withinMs] }] } };
    const wasPutOff = {
      // Of one that had ended and was set back all of this tells of its life before.
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
        { ...isWaiting, ...isSoon, ...wasPutOff },
      ],
    };
    return persistently(
      'looking for the last scan',
      async () => (await requestsOf(this.connection).findOne(isAtWork, { projection: { _id: 1 } })) !== null,
      { ...persist, signal },
    );
  }

  get #state(): mongo.Collection<StateDocument> {
    return stateOf(databaseOf(this.connection));
  }
}
