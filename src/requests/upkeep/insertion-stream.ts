// One stream of insertions under one lease: gathers the events, has them stamped, and stores the place that
// it has come to only after its stamps are acknowledged.
import type { mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import { pause } from '../../base/waiting.js';
import {
  ChangeStreamFollower,
  needsReplicaSet,
  secondOfToken,
  type StreamEnd,
  textOfToken,
} from '../../mongo/change-stream.js';
import { clusterSecond, mongoTime } from '../../mongo/clock.js';
import { hasCode, isPassing } from '../../mongo/faults.js';
import type { OurDatabase } from '../../mongo/sync-state.js';
import { insertionOfBatch, type Seals } from '../insertion.js';
import { type RequestId, requestsOf } from '../request.js';
import { InsertionStamps, type InsertedBatch, stampedAtOnce } from './insertion-stamps.js';
import { followLeaseMs, type HeldFollowLease, type InsertionState } from './insertion-state.js';

export interface InsertionStreamOptions {
  readonly database: OurDatabase;
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

/** Claims store most stamps themselves: what is left is gathered this long. */
const gatherMs = 100;
const renewEveryMs = followLeaseMs / 3;
/** How often a place is stored. */
const newsEveryMs = 500;
/** Failures in a row, none of a passing cause, after which the stored place counts as lost. */
const maxFailures = 3;
/** Events that wait to be stamped; the stream is not read further then. */
const maxWaiting = 5_000;

interface Waiting extends InsertedBatch {
  /** The place after the event. */
  readonly position: unknown;
}

/** `ended`: the lease is lost, or the process stops. `impossible`: no replica of this kind can follow. */
export type StreamState = 'open' | 'ended' | 'lost' | 'impossible';

/** One stream under one lease. */
export class InsertionStream {
  readonly #waiting: Waiting[] = [];
  readonly #follower: ChangeStreamFollower<InsertionEvent>;
  readonly #stamps: InsertionStamps;
  #state: StreamState = 'open';
  /** Undefined until the place is stored and what is older has been marked. */
  #position: unknown;
  #begins: unknown;
  /** Found without a stamp when the stream began, at that second of the server. */
  #unmarked:
    | { readonly ids: readonly RequestId[]; readonly second: number | undefined; readonly before: Date }
    | undefined;
  #hasMoved = false;
  #isLeaseLost = false;
  /** The first place is stored at once. */
  #renewedMs = -Infinity;

  constructor(
    private readonly options: InsertionStreamOptions,
    private readonly lease: HeldFollowLease,
    /** Where the stream begins; undefined: now. `losses`: histories lost in a row. */
    private readonly start: { readonly from: unknown; readonly losses: number },
    private readonly stopping: AbortSignal,
  ) {
    const { from } = start;
    this.#position = from;
    this.#stamps = new InsertionStamps(options);
    this.#follower = new ChangeStreamFollower<InsertionEvent>({
      collection: () => requestsOf(options.database),
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
        await (this.#position === undefined ? this.#begin() : this.#stampWaiting());
        this.#moveOn();
        await this.#markOld();
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

  #onEnded({ error, isFinal, failures }: StreamEnd): void {
    const isUseless = failures >= maxFailures && !isPassing(error);
    if (!isFinal && !isUseless) return;
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

  /** Stores the place where the stream begins, and notes what has no stamp now. */
  async #begin(): Promise<void> {
    if (this.#begins === undefined) return;
    // The place may be behind the first events already.
    const begins = this.#begins;
    await this.#stampWaiting();
    this.#move(begins);
    await this.#advance();
    const ids = await this.#stamps.withoutStamp();
    const db = this.options.database.db;
    const [second, before] = await Promise.all([clusterSecond(db), mongoTime(db)]);
    this.#unmarked = { ids, second, before };
  }

  /**
   * Marks what was inserted before the stream began: that of the noted which has no stamp when all events up
   * to the note have been handled. A mark never replaces a stamp.
   */
  async #markOld(): Promise<void> {
    const noted = this.#unmarked;
    const second = secondOfToken(this.#position);
    if (!noted || (second !== undefined && noted.second !== undefined && second <= noted.second)) return;
    await this.#stamps.mark(noted.ids, noted.before);
    this.#unmarked = undefined;
  }

  async #stampWaiting(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#isLeaseLost) {
      const batch = this.#waiting.slice(0, stampedAtOnce);
      await this.#stamps.stamp(batch);
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

  /** Renews the lease and stores the place, not more often than need be. */
  async #advance(): Promise<void> {
    const sentMs = performance.now();
    const isNews = this.#hasMoved && sentMs - this.#renewedMs >= newsEveryMs;
    if (!isNews && sentMs - this.#renewedMs < renewEveryMs) return;
    this.#isLeaseLost = !(await this.options.state.advance(this.lease, this.#position));
    this.#hasMoved = false;
    this.#renewedMs = sentMs;
  }
}
