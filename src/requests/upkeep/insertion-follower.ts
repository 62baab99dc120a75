// Stamps every batch with its change event. One replica at a time follows the stream of insertions, by a lease
// in sync_state, and the place that it has come to is stored there only after its stamps are acknowledged. A
// restart or a takeover therefore loses none, also of those that were inserted while no daemon ran.
import type { Connection, mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import { pause } from '../../base/waiting.js';
import {
  ChangeStreamFollower,
  needsReplicaSet,
  type StreamEnd,
  textOfToken,
} from '../../mongo/change-stream.js';
import { mongoTime } from '../../mongo/clock.js';
import { hasCode, isPassing, persistently } from '../../mongo/faults.js';
import { databaseOf } from '../../mongo/sync-state.js';
import type { Insertion } from '../../sync/telling.js';
import { insertionOfBatch, type Known, type Seals } from '../insertion.js';
import { type RequestId, requestsOf, requestStatuses, type StoredRequest } from '../request.js';
import { keyOf } from './guarded-updates.js';
import { followLeaseMs, type HeldFollowLease, type InsertionState } from './insertion-state.js';

export interface InsertionFollowerOptions {
  readonly connection: Connection;
  readonly state: InsertionState;
  readonly seals: Seals;
  readonly logger: Logger;
  /** All events up to this token have been handled. */
  readonly onHandled: (token: string | undefined) => void;
}

/** What the pipeline below projects. */
interface InsertionEvent {
  readonly _id: unknown;
  readonly documentKey: { readonly _id: RequestId };
  readonly wallTime: Date;
}

const pipeline: mongo.BSON.Document[] = [
  { $match: insertionOfBatch },
  { $project: { 'documentKey._id': 1, wallTime: 1 } },
];

/** How often a replica asks for the lease that another one holds. */
const askEveryMs = 1_000;
/** Claims store most stamps themselves: what is left is gathered this long. */
const gatherMs = 100;
const renewEveryMs = followLeaseMs / 3;
/** How often a place is stored. */
const newsEveryMs = 500;
/** Events that are stamped by one command. */
const batchSize = 1_000;
/** Events that wait to be stamped; the stream is not read further then. */
const maxWaiting = 5_000;

interface Waiting {
  readonly id: RequestId;
  readonly insertion: Insertion;
  /** The place after the event. */
  readonly position: unknown;
}

type StreamState = 'open' | 'ended' | 'lost' | 'impossible';

export class InsertionFollower {
  readonly #options: InsertionFollowerOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #hasToldFault = false;

  constructor(options: InsertionFollowerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Releases the lease. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { state, seals } = this.#options;
    let isPossible = true;
    while (isPossible && !signal.aborted) {
      try {
        await seals.load();
        const lease = await state.acquire();
        if (lease) isPossible = await this.#holding(lease);
        this.#hasToldFault = false;
      } catch (error) {
        this.#tellFault(error);
      }
      if (isPossible) await pause(askEveryMs, signal);
    }
  }

  /** Follows until the lease is lost or the process stops. False: this server has no change streams. */
  async #holding(lease: HeldFollowLease): Promise<boolean> {
    const { state } = this.#options;
    let end: StreamState = 'open';
    try {
      let from: unknown = await this.#usable(lease.position);
      for (let losses = 0; ; losses += 1) {
        const following = new Following(this.#options, lease, { from, losses }, this.#stopping.signal);
        end = await following.run();
        if (end !== 'lost') return end !== 'impossible';
        from = undefined;
        if (!(await pause(askEveryMs, this.#stopping.signal))) return true;
      }
    } finally {
      // It expires soon.
      await state.release(lease, { isForOthers: end !== 'impossible' }).catch(() => undefined);
    }
  }

  /**
   * The position, unless it lies ahead of the server: a restored backup begins a new history. A stream from
   * there would wait, without an error, until the server comes to it.
   */
  async #usable(position: unknown): Promise<unknown> {
    const second = secondOf(textOfToken(position));
    if (second === undefined) return undefined;
    const { operationTime } = await databaseOf(this.#options.connection).command({ ping: 1 });
    const now = (operationTime as { readonly high?: unknown } | undefined)?.high; // a Timestamp of the driver
    if (typeof now !== 'number' || second <= now) return position;
    this.#options.logger.warn(
      'The stored place in the stream of insertions lies in the future; starting anew',
    );
    return undefined;
  }

  #tellFault(error: unknown): void {
    if (!this.#hasToldFault && !this.#stopping.signal.aborted) {
      const { logger } = this.#options;
      logger.warn({ err: error }, 'The order of insertions cannot be stored; trying again');
    }
    this.#hasToldFault = true;
  }
}

/** One stream under one lease. */
class Following {
  readonly #waiting: Waiting[] = [];
  readonly #follower: ChangeStreamFollower<InsertionEvent>;
  #state: StreamState = 'open';
  /** Undefined until the place is stored and what is older has been marked. */
  #position: unknown;
  #begins: unknown;
  #hasMoved = false;
  #isLeaseLost = false;
  /** The first place is stored at once. */
  #renewedMs = -Infinity;

  constructor(
    private readonly options: InsertionFollowerOptions,
    private readonly lease: HeldFollowLease,
    /** Where the stream begins; undefined: now. `losses`: histories lost in a row. */
    private readonly start: { readonly from: unknown; readonly losses: number },
    private readonly stopping: AbortSignal,
  ) {
    const { from } = start;
    this.#position = from;
    this.#follower = new ChangeStreamFollower<InsertionEvent>({
      collection: () => requestsOf(options.connection),
      pipeline,
      resume: { from: from === undefined ? undefined : { startAfter: from } },
      onOpened: (resumeToken) => {
        this.#begins ??= resumeToken;
      },
      onEvent: (event, position) => this.#onEvent(event, position),
      onEnded: (end) => this.#onEnded(end),
    });
  }

  /** `ended`: the lease is lost, or the process stops. @throws what the driver throws */
  async run(): Promise<StreamState> {
    try {
      while (await pause(gatherMs, this.stopping)) {
        if (this.#state !== 'open') return this.#state;
        if (this.#position === undefined) await this.#begin();
        await this.#stampWaiting();
        this.#moveOn();
        await this.#advance();
        if (this.#isLeaseLost) return 'ended';
      }
      return 'ended';
    } finally {
      this.#follower.close();
    }
  }

  #onEvent(event: InsertionEvent, position: unknown): Promise<void> | undefined {
    const token = textOfToken(event._id);
    // wallTime is there from MongoDB 6.0 on.
    if (token === undefined || !(event.wallTime instanceof Date)) return undefined;
    const insertion = { token, at: event.wallTime };
    this.#waiting.push({ id: event.documentKey._id, insertion, position });
    return this.#waiting.length < maxWaiting ? undefined : this.#hasRoom();
  }

  async #hasRoom(): Promise<void> {
    while (this.#waiting.length >= maxWaiting && !this.stopping.aborted && this.#state === 'open')
      await pause(gatherMs, this.stopping);
  }

  #onEnded({ error, isFinal }: StreamEnd): void {
    if (!isFinal) return;
    const { logger } = this.options;
    if (needsReplicaSet(error))
      this.#state = 'impossible'; // the wake-ups have said so
    else if (hasCode(error, 'unauthorized')) {
      this.#state = 'impossible';
      logger.warn(
        { err: error },
        'MongoDB does not let this user follow insertions; batches go by their _id',
      );
    } else {
      this.#state = 'lost';
      if (this.start.losses > 0) return;
      logger.warn(
        { err: error },
        'The history of insertions is lost, so batches from before go by their _id; starting anew',
      );
    }
  }

  /** Marks what was inserted before the stream began, and stores the place where it begins. */
  async #begin(): Promise<void> {
    if (this.#begins === undefined) return;
    this.#move(this.#begins);
    await this.#advance();
    const before = await mongoTime(databaseOf(this.options.connection));
    const unstamped = {
      command: 'syncBatch',
      status: { $in: [null, ...requestStatuses] },
      'inserted.seal': { $exists: false },
    };
    const cursor = this.#requests.find(unstamped, { projection: { _id: 1 }, batchSize });
    const ids: RequestId[] = [];
    for await (const { _id } of cursor) {
      ids.push(_id);
      if (ids.length === batchSize) await this.#mark(ids.splice(0), before);
    }
    if (ids.length > 0) await this.#mark(ids, before);
  }

  /** A mark never replaces a stamp: the events after the beginning may have written that already. */
  async #mark(ids: readonly RequestId[], before: Date): Promise<void> {
    await this.#store(
      ids.map((id) => ({ id, known: { before } })),
      { 'inserted.seal': { $exists: false } },
    );
  }

  async #stampWaiting(): Promise<void> {
    while (this.#position !== undefined && this.#waiting.length > 0 && !this.#isLeaseLost) {
      const batch = this.#waiting.slice(0, batchSize);
      await this.#stamp(batch);
      this.#waiting.splice(0, batch.length);
      this.#move(batch.at(-1)?.position);
      await this.#advance();
    }
  }

  /** Where all events have been handled, the place is where the server has looked. */
  #moveOn(): void {
    const { position } = this.#follower;
    if (this.#position === undefined || this.#waiting.length > 0 || !position) return;
    this.#move('startAfter' in position ? position.startAfter : position.resumeAfter);
  }

  #move(position: unknown): void {
    if (textOfToken(position) === textOfToken(this.#position)) return;
    this.#position = position;
    this.#hasMoved = true;
    this.options.onHandled(textOfToken(position));
  }

  /** Stamps those that have no stamp, or a forged one, or one of an earlier insertion. */
  async #stamp(batch: readonly Waiting[]): Promise<void> {
    // Of one id that was inserted again the last event counts.
    const last = new Map(batch.map((each) => [keyOf(each.id), each]));
    const stored = await persistently('reading stamps', () =>
      this.#requests
        .find({ _id: { $in: [...last.values()].map(({ id }) => id) } }, { projection: { inserted: 1 } })
        .toArray(),
    );
    const missing: { readonly id: RequestId; readonly known: Known }[] = [];
    for (const { _id, inserted } of stored) {
      const told = last.get(keyOf(_id));
      const known = await this.options.seals.read(_id, inserted);
      const isStamped = known && 'token' in known && told && known.token >= told.insertion.token;
      if (told && !isStamped) missing.push({ id: _id, known: told.insertion });
    }
    await this.#store(missing, {});
  }

  /** One that MongoDB refuses to update must not stop the others: a claim of it waits in vain, for 2 s. */
  async #store(
    stamps: readonly { readonly id: RequestId; readonly known: Known }[],
    guard: mongo.BSON.Document,
  ): Promise<void> {
    const operations = stamps.flatMap(({ id, known }) => {
      const inserted = this.options.seals.stampOf(id, known);
      const filter = { _id: { $eq: id }, ...guard };
      return inserted ? [{ updateOne: { filter, update: { $set: { inserted } } } }] : [];
    });
    if (operations.length === 0) return;
    await persistently('storing stamps', async () => {
      try {
        await this.#requests.bulkWrite(operations, { ordered: false });
      } catch (error) {
        if (isPassing(error) || !isRefusalOfOne(error)) throw error;
        this.options.logger.warn({ err: error }, 'MongoDB refuses to stamp a batch');
      }
    });
  }

  /** Renews the lease and stores the place, not more often than need be. */
  async #advance(): Promise<void> {
    const sentMs = performance.now();
    const isNews = this.#hasMoved && sentMs - this.#renewedMs >= newsEveryMs;
    if (!isNews && sentMs - this.#renewedMs < renewEveryMs) return;
    this.#isLeaseLost = !(await this.options.state.advance(this.lease, this.#position));
    this.#hasMoved = false;
    this.#renewedMs = sentMs;
  }

  get #requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.options.connection);
  }
}

/** Some documents were refused, not the whole command. */
const isRefusalOfOne = (error: unknown): boolean =>
  error instanceof Error && 'writeErrors' in error && [error.writeErrors].flat().length > 0;

/**
 * The second of the cluster's time in a token: it begins with the type of a timestamp and its eight digits.
 * Undefined for any other form.
 */
function secondOf(token: string | undefined): number | undefined {
  const digits = /^82([0-9A-Fa-f]{8})/.exec(token ?? '')?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}
