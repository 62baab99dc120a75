// Waits for requests to end. All waits on a database share one change stream that says when to read. A slow
// poll finds what the stream misses. The documents are the source of truth; this file only reads.
import { mongo } from 'mongoose';
import { Fault } from '../../base/errors.js';
import { backoffMs, endWaits, orAborted, pause } from '../../base/waiting.js';
import { ChangeStreamFollower, type FollowedStream } from '../../mongo/change-stream.js';
import { isPassing, toMongoFault } from '../../mongo/faults.js';
import { type EndStatus, endStatuses, type RequestId, type SyncRequestDocument } from '../request.js';

/** A request that has ended, as it is stored. */
export type EndedRequest = SyncRequestDocument & { readonly status: EndStatus };

/** A request that somebody waits for. */
class Awaited {
  waiters = 0;
  readonly ended: Promise<EndedRequest>;
  resolve: (request: EndedRequest) => void = () => undefined;
  reject: (fault: Fault) => void = () => undefined;

  constructor(readonly id: RequestId) {
    this.ended = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/** Interval between two reads of all awaited requests, with and without a working change stream. */
const pollMs = { withStream: 5_000, without: 1_000 };
const longestPauseMs = 5_000;
/** Pause between two reads, so that requests which end in between are read together. */
const gatherMs = 5;
/**
 * With a working change stream, a first read only finds requests that had already ended. It may be delayed
 * this long, to be batched with others.
 */
const firstLookMs = 25;
/** Maximum number of ids in one read. */
const batchSize = 500;

/** Ends and removals: a caller must also learn that the awaited request was removed. */
const pipeline = [
  {
    $match: {
      $or: [
        { operationType: 'update', 'updateDescription.updatedFields.status': { $in: endStatuses } },
        { operationType: 'replace', 'fullDocument.status': { $in: endStatuses } },
        { operationType: 'delete' },
      ],
    },
  },
  { $project: { 'documentKey._id': 1 } },
];

/** What the pipeline above projects. */
interface EndOfRequest {
  readonly documentKey: { readonly _id: unknown };
}

/** The whole request if it has ended, otherwise only its `_id`. */
const endedOnly = { $cond: [{ $in: ['$status', [...endStatuses]] }, '$$ROOT', '$$REMOVE'] };

/** What the projection above leaves. */
interface Looked {
  readonly _id: unknown;
  readonly ended?: EndedRequest;
}

/** Accepts ids of any version of the driver; EJSON would refuse those of another version. */
const isObjectId = (id: unknown): id is { toHexString(): string } =>
  typeof id === 'object' && id !== null && 'toHexString' in id;

/** Users choose the type of `_id`. */
const keyOf = (id: unknown): string =>
  isObjectId(id) ? `ObjectId ${id.toHexString()}` : mongo.BSON.EJSON.stringify({ id });

export class EndWatcher {
  readonly #collection: RequestsCollection;
  readonly #awaited = new Map<string, Awaited>();
  /** Keys to read. */
  readonly #due = new Set<string>();
  /** Keys to read with the next batch, or when the timer fires. */
  readonly #fresh = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #lookedMs = -Infinity;
  readonly #closing = new AbortController();
  #news = new AbortController();
  #ends: ChangeStreamFollower<EndOfRequest> | undefined;
  #isStarted = false;

  constructor(
    private readonly db: RequestsDatabase,
    collection: string,
    /** Called once, when no caller waits any more. This watcher is then finished. */
    private readonly onIdle: () => void,
  ) {
    this.#collection = db.collection(collection);
  }

  /**
   * @throws Fault `not_found`, `mongodb_rejected`, `mongodb_unavailable` when the client is closed; the
   *   signal's reason on abort
   */
  async wait(id: RequestId, signal: AbortSignal): Promise<EndedRequest> {
    const key = keyOf(id);
    const awaited = this.#awaited.get(key) ?? new Awaited(id);
    this.#awaited.set(key, awaited);
    awaited.waiters += 1;
    this.#lookFirst(key);
    this.#start();
    try {
      return await orAborted(awaited.ended, signal);
    } finally {
      awaited.waiters -= 1;
      if (awaited.waiters === 0 && this.#awaited.get(key) === awaited) this.#awaited.delete(key);
      this.#endIfIdle();
    }
  }

  #start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.db.client?.on('topologyClosed', this.#onClosed);
    void this.#read();
  }

  readonly #onClosed = (): void => this.#fail(clientClosed());

  #endIfIdle(): void {
    if (this.#awaited.size > 0 || this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#ends?.close();
    clearTimeout(this.#timer);
    this.db.client?.off('topologyClosed', this.#onClosed);
    this.onIdle();
  }

  #fail(fault: Fault): void {
    for (const key of [...this.#awaited.keys()]) this.#settle(key, (awaited) => awaited.reject(fault));
  }

  #settle(key: string, how: (awaited: Awaited) => void): void {
    const awaited = this.#awaited.get(key);
    this.#awaited.delete(key);
    if (awaited) how(awaited);
    this.#endIfIdle();
  }

  // Reading

  /** Reads at once under low load, otherwise in batches. */
  #lookFirst(key: string): void {
    if (!this.#ends?.isOpen || performance.now() - this.#lookedMs > firstLookMs) this.#look(key);
    else {
      this.#fresh.add(key);
      this.#timer ??= setTimeout(() => this.#look(), firstLookMs);
    }
  }

  #look(...keys: readonly string[]): void {
    for (const key of keys) this.#due.add(key);
    for (const key of this.#fresh) this.#due.add(key);
    this.#fresh.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    endWaits(this.#news);
  }

  /** Reads the due requests, and periodically all of them, until no caller waits. */
  async #read(): Promise<void> {
    const { signal } = this.#closing;
    let failures = 0;
    while (!signal.aborted) {
      this.#news = new AbortController();
      const keys = [...this.#due].slice(0, batchSize);
      try {
        if (keys.length > 0) await this.#readBatch(keys);
        failures = 0;
      } catch (error) {
        failures += 1;
        const fault = clientFault(error, 'reading a request');
        if (fault.kind !== 'retryable') this.#fail(fault);
      }
      // Opened only for requests that had not ended before. A caller that has its answer may close its
      // client, and the server would keep a stream that is just being opened.
      if (this.#awaited.size > 0) this.#followEnds();
      if (failures > 0) await pause(backoffMs({ baseMs: 200, maxMs: longestPauseMs }, failures), signal);
      else if (keys.length > 0) await pause(gatherMs, signal);
      if (failures === 0 && this.#due.size === 0) {
        const quiet = await pause(
          this.#ends?.isOpen ? pollMs.withStream : pollMs.without,
          signal,
          this.#news.signal,
        );
        if (quiet) this.#look(...this.#awaited.keys());
      }
    }
  }

  async #readBatch(keys: readonly string[]): Promise<void> {
    const ids = this.#idsOf(keys);
    const options = { readPreference: 'primary', maxTimeMS: 30_000, projection: { ended: endedOnly } };
    for (const key of keys) this.#due.delete(key);
    this.#lookedMs = performance.now();
    if (ids.length === 0) return;
    try {
      const found = await this.#collection.find({ _id: { $in: ids } }, options).toArray();
      const known = new Set<string>();
      for (const { _id, ended } of found as readonly Looked[]) {
        const key = keyOf(_id);
        known.add(key);
        if (ended) this.#settle(key, (awaited) => awaited.resolve(ended));
      }
      for (const key of keys) if (this.#awaited.has(key) && !known.has(key)) this.#settleMissing(key);
    } catch (error) {
      for (const key of keys) this.#due.add(key);
      throw error;
    }
  }

  #idsOf(keys: readonly string[]): readonly RequestId[] {
    return keys.flatMap((key) => this.#awaited.get(key)?.id ?? []);
  }

  #settleMissing(key: string): void {
    const id = String(this.#awaited.get(key)?.id);
    const missing = new Fault('not_found', `Request ${id} does not exist or was removed`);
    this.#settle(key, (awaited) => awaited.reject(missing));
  }

  // The change stream

  /** Without change streams the poll works alone. */
  #followEnds(): void {
    this.#ends ??= new ChangeStreamFollower<EndOfRequest>({
      collection: () => this.#collection,
      pipeline,
      gatherMs,
      onOpened: () => this.#look(...this.#awaited.keys()),
      onEvent: ({ documentKey }) => {
        const key = keyOf(documentKey._id);
        if (this.#awaited.has(key)) this.#look(key);
      },
    });
  }
}

const clientClosed = (cause?: unknown): Fault =>
  new Fault('mongodb_unavailable', 'The MongoDB client is closed', { kind: 'terminal', cause });

/**
 * Classifies an error of the caller's client. In another version of the driver the classes differ, but their
 * names are the same.
 */
export function clientFault(error: unknown, doing: string): Fault {
  const name = error instanceof Error ? error.name : '';
  if (/^Mongo(NotConnected|ClientClosed|TopologyClosed)/.test(name)) return clientClosed(error);
  if (!isPassing(error) && /^Mongo(Network|ServerSelection|PoolCleared)/.test(name)) {
    return new Fault('mongodb_unavailable', `MongoDB did not answer while ${doing}`, { cause: error });
  }
  return toMongoFault(error, doing);
}

// The part of the driver that users of the queue must bring. Their `mongodb` may be another version than
// ours, so only the shape is required.
/** A `Db` of the `mongodb` driver, or `connection.db` of mongoose. */
export interface RequestsDatabase {
  readonly databaseName: string;
  /** Databases of one client share one watcher. */
  readonly client?: RequestsClient;
  collection(name: string): RequestsCollection;
}

interface RequestsClient {
  on(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
}

export interface RequestsCollection {
  insertOne(document: object, options?: object): Promise<{ readonly insertedId: unknown }>;
  find(filter: object, options?: object): { toArray(): Promise<readonly object[]> };
  watch(pipeline?: object[], options?: object): FollowedStream;
}
