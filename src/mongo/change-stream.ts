// Follows a change stream and opens it again whenever it ends. Cheap when much happens: the server is not
// asked for each event by itself. It needs nothing of the driver but a shape, for users of the library bring
// their own version.
import { backoffMs, pause } from '../base/waiting.js';
import { hasCode } from './faults.js';

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

/**
 * Where a stream begins: after this event. `startAfter` also passes the end of a stream whose collection was
 * dropped.
 */
export type StreamPosition = { readonly resumeAfter: unknown } | { readonly startAfter: unknown };

/** Why a stream ended that nobody closed. */
export interface StreamEnd {
  /** Undefined where the server ended it, as it does when the collection is dropped. */
  readonly error: unknown;
  /** It is not opened again. Told once. */
  readonly isFinal: boolean;
  /** Streams in a row that failed soon, this one included; 0 without an error. */
  readonly failures: number;
}

export interface ChangeStreamOptions<Event> {
  /** Called for each opening. What it throws is an end of the stream like any other. */
  readonly collection: () => { watch(pipeline?: object[], options?: object): FollowedStream };
  readonly pipeline: readonly object[];
  /**
   * Keeps its place: begins here (undefined: now), and each later stream where the one before ended. Then a
   * place that the server no longer has ends it for good. Without this option each stream begins with what
   * happens from its opening on.
   */
  readonly resume?: { readonly from: StreamPosition | undefined };
  /**
   * Where much happens: how long the server may gather events before it is asked again, in milliseconds. By
   * default it may not.
   */
  readonly gatherMs?: number;
  /**
   * The event as the pipeline projects it, with its `_id`, and where to resume after it. The next one is told
   * when this has resolved. What it throws ends the stream.
   */
  readonly onEvent: (event: Event, resumeToken: unknown) => void | Promise<void>;
  /**
   * The server has answered for the first time. Without `resume` what happened before is in no stream: look
   * for it.
   */
  readonly onOpened?: () => void;
  readonly onEnded?: (end: StreamEnd) => void;
  /**
   * Errors that end it for good; by default a server without change streams, and a user without the right.
   */
  readonly isFinal?: (error: unknown) => boolean;
}

/** Change streams need a replica set: https://www.mongodb.com/docs/manual/changeStreams/#availability */
export const needsReplicaSet = (error: unknown): boolean => hasCode(error, 'needsReplicaSet');

const isFinalByDefault = (error: unknown): boolean =>
  needsReplicaSet(error) || hasCode(error, 'unauthorized');

const isPositionLost = (error: unknown): boolean =>
  hasCode(error, 'changeStreamHistoryLost') ||
  hasCode(error, 'changeStreamFatalError') ||
  hasCode(error, 'invalidResumeToken');

/**
 * Between two openings, counted from the first of them. A stream that has lived for longer did not fail soon.
 */
const reopening = { baseMs: 1_000, maxMs: 4_000 } as const;
/** Events that come so soon after the last ones are many. */
const busyMs = 50;
const streamOptions = { maxAwaitTimeMS: 1_000, batchSize: 1_000 } as const;

export class ChangeStreamFollower<Event extends object = object> {
  readonly #options: ChangeStreamOptions<Event>;
  readonly #closing = new AbortController();
  #position: StreamPosition | undefined;
  #isOpen = false;

  /** Opens the stream, and goes on until it is closed. */
  constructor(options: ChangeStreamOptions<Event>) {
    this.#options = options;
    this.#position = options.resume?.from;
    void this.#follow();
  }

  /** Whether events are told. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /**
   * Behind all that has been told, and behind what the pipeline left out since; undefined before the server's
   * first answer.
   */
  get position(): StreamPosition | undefined {
    return this.#position;
  }

  /**
   * Nothing is told after the call. The look at the stream that is under way takes the server up to a second
   * and is not waited for: the cursor is closed after it, or with the client.
   */
  close(): void {
    // The stream itself is not closed here. With a look under way the driver may end the session before it
    // has sent killCursors. Then the cursor stays open on the server for minutes.
    this.#closing.abort();
    this.#isOpen = false;
  }

  // A function: the compiler takes a property to stay as it was.
  #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    const { isFinal = isFinalByDefault, resume, onEnded } = this.#options;
    for (let failures = 0; !this.#isClosed();) {
      const openedMs = performance.now();
      let error: unknown;
      try {
        await this.#followOne();
        failures = 0;
      } catch (thrown) {
        error = thrown;
        failures = performance.now() - openedMs > reopening.maxMs ? 1 : failures + 1;
      }
      this.#isOpen = false;
      if (this.#isClosed()) return;
      const isOver = isFinal(error) || (resume !== undefined && isPositionLost(error));
      onEnded?.({ error, isFinal: isOver, failures });
      if (isOver) return;
      await pause(backoffMs(reopening, failures) - (performance.now() - openedMs), signal);
    }
  }

  /** Follows one stream to its end. @throws the error that ended it */
  async #followOne(): Promise<void> {
    const { collection, pipeline, resume } = this.#options;
    const position = resume && this.#position;
    const stream = collection().watch([...pipeline], { ...streamOptions, ...position });
    // Without a listener an error event would end the process; the loop below gets the same error.
    stream.on('error', () => undefined);
    stream.once('resumeTokenChanged', () => {
      if (this.#isClosed()) return;
      this.#isOpen = true;
      this.#options.onOpened?.();
    });
    try {
      await this.#readAll(stream);
    } finally {
      await stream.close().catch(() => undefined);
    }
  }

  async #readAll(stream: FollowedStream): Promise<void> {
    const { signal } = this.#closing;
    const { gatherMs = 0, onEvent } = this.#options;
    for (let cameMs = -Infinity; !this.#isClosed() && !stream.closed;) {
      const event = (await stream.tryNext()) as (Event & { readonly _id: unknown }) | null; // as its pipeline projects it
      if (this.#isClosed()) return;
      // Before anything is awaited, for the driver may move it on.
      const { resumeToken } = stream;
      if (event !== null) await onEvent(event, resumeToken);
      if (resumeToken != null) this.#position = { startAfter: resumeToken };
      // More of the same answer is here. After the last event of an answer a stream resumes from where the
      // server has looked, no longer from the event: MongoDB's specification of change streams, "Updating the
      // Cached Resume Token" (https://github.com/mongodb/specifications).
      if (event === null || resumeToken === event._id) continue;
      const isBusy = gatherMs > 0 && performance.now() - cameMs < busyMs;
      if (isBusy) await pause(gatherMs, signal);
      cameMs = performance.now();
    }
  }
}
