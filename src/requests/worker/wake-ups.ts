// Wake-ups from a change stream on sync_requests. It only wakes: the pending documents are the truth, and the poll finds what it
// misses. So whatever happens to the stream, it is opened again and nothing is resumed.
import type { Connection, mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import { backoffMs, pause } from '../../base/waiting.js';
import { hasCode, isPassing } from '../../mongo/faults.js';
import { commandsOf, type LaneName } from '../commands.js';
import { type RequestId, requestsOf, requestStatuses } from '../request.js';

export type FeedEvent =
  /** Look for anything: the stream has just been opened, and what happened before is not in it. */
  | { readonly kind: 'opened' }
  | {
      readonly kind: 'pending';
      readonly id: RequestId;
      /** Where it belongs, when the event tells; `odd` is for no lane. */
      readonly lane: LaneName | 'odd' | undefined;
      /** When it began to wait, by the database's clock. */
      readonly wokenAt: Date | undefined;
    }
  | { readonly kind: 'cancel'; readonly id: RequestId };

export interface FeedOptions {
  readonly connection: Connection;
  readonly logger: Logger;
  readonly onEvent: (event: FeedEvent) => void;
}

/** What the pipeline below projects. */
interface WakeUp {
  readonly documentKey: { readonly _id: RequestId };
  readonly lane?: LaneName | 'odd';
  readonly cancel?: unknown;
  readonly wallTime?: Date;
}

const updated = (field: string): string => `updateDescription.updatedFields.${field}`;

const status = { $ifNull: ['$fullDocument.status', 'pending'] };
const isOf = (name: LaneName): mongo.BSON.Document => ({ $in: ['$fullDocument.command', commandsOf(name)] });

const lane: mongo.BSON.Document = {
  $switch: {
    branches: [
      { case: { $not: [{ $in: [status, requestStatuses] }] }, then: 'odd' },
      { case: isOf('small'), then: 'small' },
      { case: isOf('scan'), then: 'scan' },
    ],
    default: 'odd',
  },
};

/**
 * Insertions, requests set back to pending that are due, and wishes to cancel. Claims, renewals, progress and results match nothing: what
 * the workers write wakes no worker. Of a document nothing but its id comes over the wire.
 */
const pipeline: mongo.BSON.Document[] = [
  {
    $match: {
      $or: [
        { operationType: 'insert' },
        { operationType: 'update', [updated('cancel')]: true },
        { operationType: 'update', [updated('status')]: 'pending', [updated('runAt')]: { $exists: false } },
        // With a runAt that has not come it is one that waits after a fault; the poll finds it when it is due.
        {
          operationType: 'update',
          [updated('status')]: 'pending',
          [updated('runAt')]: { $type: 'date' },
          $expr: { $lte: [`$${updated('runAt')}`, '$wallTime'] },
        },
        // A user's replaceOne. MongoDB may also log an update as one.
        { operationType: 'replace', 'fullDocument.status': { $in: ['pending', null] } },
      ],
    },
  },
  {
    $project: {
      'documentKey._id': 1,
      wallTime: 1,
      cancel: `$${updated('cancel')}`,
      lane: { $cond: [{ $eq: ['$operationType', 'update'] }, '$$REMOVE', lane] },
    },
  },
];

/** Change streams need a replica set: https://www.mongodb.com/docs/manual/changeStreams/#availability */
const needsReplicaSet = (error: unknown): boolean => hasCode(error, 'needsReplicaSet');

/** See followGathered: long enough for a few requests of 200 a second, short beside the time that one takes. */
const gatherMs = 12;

const reopening = { baseMs: 1_000, maxMs: 4_000 } as const;

export class RequestFeed {
  readonly #closing = new AbortController();
  #stream: mongo.ChangeStream<mongo.BSON.Document, mongo.BSON.Document> | undefined;
  #isStarted = false;

  constructor(private readonly options: FeedOptions) {}

  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    void this.#run();
  }

  /**
   * Ends the stream; no event comes after it. The look at the stream that is under way, of which the server takes up to a second,
   * is not waited for: it ends by itself, and quietly.
   */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#stream?.close().catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const { logger } = this.options;
    for (let failures = 0; !signal.aborted;) {
      const openedMs = performance.now();
      try {
        await this.#follow();
        failures = 0;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        if (needsReplicaSet(error)) {
          logger.warn(
            'MongoDB is no replica set and has no change streams: requests are found every requests.pollIntervalMs',
          );
          return;
        }
        // A stream that had lived for a while is no series of failures.
        failures = performance.now() - openedMs > reopening.maxMs ? 1 : failures + 1;
        const message = 'Change stream ended, opening it again; requests are found by polling meanwhile';
        if (failures === 1) logger.warn({ err: error, isPassing: isPassing(error) }, message);
      }
      const pauseMs = backoffMs(reopening, failures);
      await pause(pauseMs - (performance.now() - openedMs), signal);
    }
  }

  /** Follows one stream to its end. */
  async #follow(): Promise<void> {
    const stream = requestsOf(this.options.connection).watch<mongo.BSON.Document, mongo.BSON.Document>(
      pipeline,
      {
        maxAwaitTimeMS: 1_000,
        batchSize: 1_000,
      },
    );
    this.#stream = stream;
    const { signal } = this.#closing;
    await followGathered<WakeUp>(stream, {
      signal,
      gatherMs,
      onOpened: () => {
        if (!signal.aborted) this.options.onEvent({ kind: 'opened' });
      },
      onEvent: (wakeUp) => this.#wake(wakeUp),
    });
  }

  #wake({ documentKey: { _id: id }, cancel, lane, wallTime }: WakeUp): void {
    if (this.#closing.signal.aborted) return;
    if (cancel === true) this.options.onEvent({ kind: 'cancel', id });
    else this.options.onEvent({ kind: 'pending', id, lane, wokenAt: wallTime });
  }
}

// Follows a change stream in a way that is cheap when much happens: the server is not asked for each event by itself.
/** As much of a change stream as is needed here, of any version of the driver. */
export interface FollowedStream {
  readonly closed: boolean;
  readonly resumeToken: unknown;
  on(event: string, listener: (argument: never) => void): unknown;
  once(event: string, listener: (argument: never) => void): unknown;
  /** Null where nothing has happened within `maxAwaitTimeMS`. */
  tryNext(): Promise<unknown>;
  close(): Promise<void>;
}

export interface Following<Event> {
  readonly signal: AbortSignal;
  /** Where much happens, how long the server may gather before it is asked again, in milliseconds: what is done together costs a fraction. */
  readonly gatherMs: number;
  /** The server has answered for the first time: what happened before is in no stream. */
  readonly onOpened: () => void;
  /** As the stream's pipeline projects it, with its `_id`. */
  readonly onEvent: (event: Event) => void;
}

/** What comes so soon after the last is one of many. */
const busyMs = 50;

/** Tells of each event until the signal aborts; closes the stream. @throws the stream's error; where it was closed by us the driver's word for that */
export async function followGathered<Event>(
  stream: FollowedStream,
  { signal, gatherMs, onOpened, onEvent }: Following<Event>,
): Promise<void> {
  const close = (): Promise<void> => stream.close().catch(() => undefined);
  let isOpen = false;
  // Before its first answer the driver does not know the server's cursor, and would leave it open: then it is closed after that answer.
  const onAbort = (): void => void (isOpen && close());
  // Without a listener an error event would end the process; the loop below gets the same error.
  stream.on('error', () => undefined);
  stream.once('resumeTokenChanged', () => {
    isOpen = true;
    onOpened();
  });
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (let cameMs = -Infinity; !signal.aborted && !stream.closed;) {
      const event = await stream.tryNext();
      if (event === null) continue;
      onEvent(event as Event); // as its pipeline projects it
      if (isFollowed(stream, event as { readonly _id: unknown })) continue;
      const isBusy = performance.now() - cameMs < busyMs;
      if (isBusy) await pause(gatherMs, signal);
      cameMs = performance.now();
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    await close();
  }
}

/**
 * More of the same answer is here. After the last event of an answer a stream resumes from where the server has looked, no more from the event
 * (https://github.com/mongodb/specifications/blob/master/source/change-streams/change-streams.md#updating-the-cached-resume-token).
 */
const isFollowed = ({ resumeToken }: FollowedStream, { _id }: { readonly _id: unknown }): boolean =>
  resumeToken === _id;
