// What a Node service needs to insert requests and to wait for their end. It brings its own connection;
// neither Stripe nor a daemon is needed.
import { Fault } from '../../base/errors.js';
import { longestTimerMs } from '../../base/waiting.js';
import { duplicateFields, hasCode } from '../../mongo/faults.js';
import { defaultNames } from '../../mongo/sync-state.js';
import { newRequest } from '../parse.js';
import type { RequestId, RequestInput } from '../request.js';
import { clientFault, type EndedRequest, EndWatcher, type RequestsDatabase } from './end-watcher.js';

/** Where the requests are, if not in `sync_requests`. */
export interface InsertOptions {
  /** The daemon's setting `mongodb.collections.requests`. */
  readonly collection?: string;
}

export interface ResultOptions extends InsertOptions {
  /** Longest wait in milliseconds; without it there is none. */
  readonly timeoutMs?: number;
  /** Ends waiting with its reason. The request goes on. */
  readonly signal?: AbortSignal;
}

/**
 * An insertion that the majority does not acknowledge in time is reported as failed, but it may have
 * succeeded.
 */
const durable = { writeConcern: { w: 'majority', wtimeoutMS: 10_000 } };

/**
 * Inserts a request and returns its id. The right to insert into the collection of the requests is enough.
 * @param db a `Db` of the `mongodb` driver, or `connection.db` of mongoose
 * @throws Fault `invalid_request` with every fault named, before anything is inserted; `duplicate_request`
 *   when one with the same `dedupeKey` waits, runs or is kept, or one with the same `_id` is there;
 *   `mongodb_unavailable` (it may have been inserted: with a `dedupeKey` or an `_id`, insert it again);
 *   `mongodb_rejected`
 */
async function insert<Id = RequestId>(
  db: RequestsDatabase,
  request: RequestInput & { readonly _id?: Id },
  { collection = defaultNames.requests }: InsertOptions = {},
): Promise<Id> {
  // Without a given id, the inserting driver makes one: another version of the driver would refuse ours.
  const { _id: _, ...document } = newRequest(request);
  if (request._id !== undefined) Object.assign(document, { _id: request._id });
  try {
    const { insertedId } = await db.collection(collection).insertOne(document, durable);
    return insertedId as Id; // as given, or made by the driver, which makes ObjectIds
  } catch (error) {
    throw insertionFault(error) ?? clientFault(error, 'inserting a request');
  }
}

/**
 * Waits for a request to end and returns it as it is stored. However many are awaited, a process has one
 * change stream for each client and database; without one (a standalone server, no right to `changeStream`)
 * it looks once a second. While MongoDB is away it goes on waiting.
 * @throws Fault `timeout` (the request goes on), `not_found` when it is not there or has been removed,
 *   `mongodb_rejected` where it may not be read, `mongodb_unavailable` when the client is closed; the
 *   signal's reason on abort
 */
async function result(
  db: RequestsDatabase,
  id: RequestId | string,
  { timeoutMs, signal, collection = defaultNames.requests }: ResultOptions = {},
): Promise<EndedRequest> {
  signal?.throwIfAborted();
  const late = new AbortController();
  const timer = timeoutMs === undefined ? undefined : setTimeout(giveUp, Math.min(timeoutMs, longestTimerMs));
  function giveUp(): void {
    const text = `Request ${String(id)} has not ended within ${timeoutMs} ms; it goes on`;
    late.abort(new Fault('timeout', text));
  }
  try {
    return await watcherOf(db, collection).wait(
      id as RequestId,
      signal ? AbortSignal.any([late.signal, signal]) : late.signal,
    );
  } finally {
    clearTimeout(timer);
  }
}

/** By client, or by database if it does not expose its client; then by names of database and collection. */
const watchers = new WeakMap<object, Map<string, EndWatcher>>();

function watcherOf(db: RequestsDatabase, collection: string): EndWatcher {
  const owner = db.client ?? db;
  const ofClient = watchers.get(owner) ?? new Map<string, EndWatcher>();
  watchers.set(owner, ofClient);
  // A name of a database has no dot.
  const place = `${db.databaseName}.${collection}`;
  const watcher = ofClient.get(place) ?? new EndWatcher(db, collection, () => ofClient.delete(place));
  ofClient.set(place, watcher);
  return watcher;
}

/**
 * For Node services that ask for work: `await requests.result(db, await requests.insert(db, { command:
 * 'syncAll' }))`.
 */
export const requests = { insert, result } as const;

// Translates an error of an insertion of a request, for any caller and any driver.
/** The fault of the request to insert; undefined if the error has another cause. */
export function insertionFault(error: unknown): Fault | undefined {
  const fault = (code: 'duplicate_request' | 'invalid_request', text: string): Fault =>
    new Fault(code, text, { cause: error });
  if (hasCode(error, 'documentValidationFailure')) {
    return fault(
      'invalid_request',
      "MongoDB refused the request by the rules of another version's validator",
    );
  }
  const fields = duplicateFields(error);
  if (fields.includes('dedupeKey')) {
    return fault('duplicate_request', 'A request with this dedupeKey waits, runs or is kept');
  }
  return fields.includes('_id')
    ? fault('duplicate_request', 'A request with this _id already exists')
    : undefined;
}
