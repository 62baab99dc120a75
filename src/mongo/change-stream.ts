// Follows a change stream and reopens it whenever it ends. Cheap under load, because the server is not asked
// for each event separately. It needs only the shape of the driver: users of the library bring their own
// version.
import { backoffMs, pause } from '../base/waiting.js';
import { hasCode } from './faults.js';

/** The part of a change stream that is used here, in any version of the driver. */
export interface FollowedStream {
  readonly closed: boolean;
  readonly resumeToken: unknown;
  on(event: string, listener: (argument: never) => void): unknown;
  once(event: string, listener: (argument: never) => void): unknown;
  /** Null if nothing happened within `maxAwaitTimeMS`. */
  tryNext(): Promise<unknown>;
  close(): Promise<void>;
}

/**
 * The event after which a stream begins. `startAfter` also continues past the end of a stream whose
 * collection was dropped.
 */
export type StreamPosition = { readonly resumeAfter: unknown } | { readonly startAfter: unknown };

/**
 * The text of a resume token. Texts sort in the order of the stream:
 * https://www.mongodb.com/docs/manual/changeStreams/#resume-tokens
 */
export function textOfToken(resumeToken: unknown): string | undefined {
  if (typeof resumeToken !== 'object' || resumeToken === null || !('_data' in resumeToken)) return undefined;
  return typeof resumeToken._data === 'string' ? resumeToken._data : undefined;
}

/**
 * The second of the cluster's time in a resume token: its text begins with the type of a timestamp and eight
 * digits. Undefined for any other form.
 */
export function secondOfToken(resumeToken: unknown): number | undefined {
  const digits = /^82([0-9A-Fa-f]{8})/.exec(textOfToken(resumeToken) ?? '')?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

/** Why a stream ended that nobody closed. */
export interface StreamEnd {
  /** Undefined where the server ended it, as it does when the collection is dropped. */
  readonly error: unknown;
  /** The stream is not reopened. Reported once. */
  readonly isFinal: boolean;
  /** Number of consecutive streams that failed soon, this one included; 0 without an error. */
  readonly failures: number;
}

export interface ChangeStreamOptions<Event> {
  /** Called at each opening. An error that it throws ends the stream like any other. */
  readonly collection: () => { watch(pipeline?: object[], options?: object): FollowedStream };
  readonly pipeline: readonly object[];
  /**
   * The place to resume from (undefined: now). Each later stream resumes where the previous one ended. If the
   * server no longer has that place, the stream ends for good. Without this option, each stream begins with
   * the events after its opening.
   */
  readonly resume?: { readonly from: StreamPosition | undefined };
  /**
   * For busy collections: how long the server may gather events before the next read, in milliseconds. By
   * default it does not gather.
   */
  readonly gatherMs?: number;
  /**
   * Receives the event as the pipeline projects it, with its `_id`, and the place to resume from after it.
   * The next event is delivered when this has resolved. An error that it throws ends the stream.
   */
  readonly onEvent: (event: Event, resumeToken: unknown) => void | Promise<void>;
  /**
   * Called at the server's first response, with the place where the stream begins. Without `resume`, earlier
   * changes are in no stream, so the caller must read them.
   */
  readonly onOpened?: (resumeToken: unknown) => void;
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
 * Pause between two openings, counted from the first of them. A stream that lasted longer did not fail soon.
 */
const reopening = { baseMs: 1_000, maxMs: 4_000 } as const;
/** Events that follow the last ones within this time count as a burst. */
const busyMs = 50;
const streamOptions = { maxAwaitTimeMS: 1_000, batchSize: 1_000 } as const;

export class ChangeStreamFollower<Event extends object = object> {
  readonly #options: ChangeStreamOptions<Event>;
  readonly #closing = new AbortController();
  #position: StreamPosition | undefined;
  #isOpen = false;

  /** Opens the stream, and reopens it until it is closed. */
  constructor(options: ChangeStreamOptions<Event>) {
    this.#options = options;
    this.#position = options.resume?.from;
    void this.#follow();
  }

  /** Whether events are delivered. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /**
   * The place after all delivered events, and after those that the pipeline has filtered out since. Undefined
   * before the server's first response.
   */
  get position(): StreamPosition | undefined {
    return this.#position;
  }

  /**
   * Delivers nothing after the call. A read in progress may take the server up to a second; the call does not
   * wait for it. The cursor is closed after that read, or with the client.
   */
  close(): void {
    // The stream itself is not closed here. During a read the driver may end the session before it has sent
    // killCursors. Then the cursor stays open on the server for minutes.
    this.#closing.abort();
    this.#isOpen = false;
  }

  // A function, because the compiler assumes that a property keeps its value.
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
    stream.once('resumeTokenChanged', (resumeToken: unknown) => {
      if (this.#isClosed()) return;
      this.#isOpen = true;
      this.#options.onOpened?.(resumeToken);
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
      // Before any await, because the driver may advance it.
      const { resumeToken } = stream;
      if (event !== null) await onEvent(event, resumeToken);
      if (resumeToken != null) this.#position = { startAfter: resumeToken };
      // The batch has more events. After its last event, a stream resumes from where the server has looked,
      // no longer from the event itself. See MongoDB's specification of change streams, "Updating the Cached
      // Resume Token" (https://github.com/mongodb/specifications).
      if (event === null || resumeToken === event._id) continue;
      const isBusy = gatherMs > 0 && performance.now() - cameMs < busyMs;
      if (isBusy) await pause(gatherMs, signal);
      cameMs = performance.now();
    }
  }
}
