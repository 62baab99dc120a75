// Equal scans: if several requests ask for the same scan, one runs on behalf of all. The others wait for it,
// and end with its result if it succeeded. Each sweep checks the scans that are waited for, so nothing is
// lost if their process dies.
import type { mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import { type OurDatabase, stateIds, stateOf } from '../../mongo/sync-state.js';
import {
  endWith,
  type Filter,
  isDue,
  isPending,
  literal,
  replaceFields,
  type Retention,
} from '../expressions.js';
import { mainResource } from '../../resources/registry.js';
import type { RequestsObserver } from '../observer.js';
import { maxAttemptsLimit, type RequestId, requestsOf, type StoredRequest } from '../request.js';
import { keyOf } from './guarded-updates.js';

/**
 * Due, or held by a daemon until reads are allowed again. The scan that runs reads later than this one would
 * have.
 */
const isDueOrHeld: Filter = { $or: [isDue, { 'error.code': 'read_allowance_used' }] };

/**
 * An option of another type is refused when the request is claimed. Such a request must not end as if all
 * were well.
 */
const isSound: Filter = {
  $and: [
    { $or: [{ runAt: null }, { runAt: { $type: 'date' } }] },
    { $or: [{ dedupeKey: null }, { dedupeKey: { $type: 'string' } }] },
    { $or: [{ requestedBy: null }, { requestedBy: { $type: 'string' } }] },
    { $or: [{ maxAttempts: null }, { maxAttempts: { $type: 'number', $gte: 1, $lte: maxAttemptsLimit } }] },
  ],
  cancel: { $in: [null, false] },
};

const isScanThatWaits: Filter = { ...isPending, command: 'syncAll' };

/** Maximum number of waiting scans to check at once. */
const mostJoined = 1_000;
/** Maximum number of result items that are copied to coalesced requests. */
const copiedItems = 100;

export class EqualScans {
  constructor(
    private readonly database: OurDatabase,
    private readonly keep: Retention,
    private readonly logger: Logger,
    private readonly observer: RequestsObserver,
  ) {}

  /**
   * Makes the full scans that are pending now, and ask for the same as the one about to run, wait for its
   * end. Does nothing if that one resumes from a checkpoint: it read customers before the others were
   * requested.
   * @throws what the driver throws
   */
  async join(id: RequestId, object: string, dryRun: boolean): Promise<void> {
    if (!dryRun && (await this.#goesOn(id, object))) return;
    const equal: Filter = {
      ...isScanThatWaits,
      ...isDueOrHeld,
      ...isSound,
      _id: { $ne: id },
      object: object === mainResource.object ? { $in: [null, object] } : object,
      dryRun: dryRun ? true : { $in: [null, false] },
    };
    const { modifiedCount: count } = await this.#requests.updateMany(equal, [
      replaceFields({ waitsFor: literal(id) }),
    ]);
    if (count > 0) this.logger.info({ requestId: id, count }, 'Equal requests wait for this one');
  }

  /**
   * Settles the requests whose scan no longer runs on their behalf. If that scan did the work, they end as
   * `coalesced` with its result. Otherwise they are pending again; returns how many.
   * @throws what the driver throws; completed updates remain
   */
  async settle(id: RequestId): Promise<number> {
    const found = await this.#requests.findOne(
      { _id: { $eq: id } },
      { projection: { status: 1, command: 1, waitsFor: 1, result: 1 } },
    );
    if (found && isAtWork(found)) return 0;
    const waiting = { ...isScanThatWaits, waitsFor: { $eq: id } };
    const result = found && resultOf(found);
    if (result) await this.#end(waiting, id, result);
    const { modifiedCount } = await this.#requests.updateMany(
      result ? { ...waiting, cancel: true } : waiting,
      {
        $unset: { waitsFor: 1 },
      },
    );
    return modifiedCount;
  }

  /** `settle` for every scan that others wait for. */
  async settleAll(signal: AbortSignal): Promise<number> {
    const joined = await this.#requests
      .find(
        { ...isScanThatWaits, waitsFor: { $ne: null } },
        { projection: { waitsFor: 1 }, limit: mostJoined },
      )
      .toArray();
    // Not by $group: that of MongoDB 6.0 changes values of rare types.
    const awaited = new Map(
      joined.map(({ waitsFor }) => [keyOf(waitsFor as RequestId), waitsFor as RequestId]),
    );
    let released = 0;
    for (const id of awaited.values()) if (!signal.aborted) released += await this.settle(id);
    return released;
  }

  /**
   * Detaches a request from the scan that it waits for, unless that scan is running.
   * @throws what the driver throws
   */
  async leave(id: RequestId, other: RequestId): Promise<void> {
    await this.settle(other);
    const isRunning = { _id: { $eq: other }, status: 'running' };
    if ((await this.#requests.countDocuments(isRunning)) > 0) return;
    const waiting = { ...isScanThatWaits, _id: { $eq: id }, waitsFor: { $eq: other } };
    await this.#requests.updateOne(waiting, { $unset: { waitsFor: 1 } });
  }

  async #end(waiting: Filter, id: RequestId, result: mongo.BSON.Document): Promise<void> {
    const { modifiedCount: count } = await this.#requests.updateMany({ ...waiting, cancel: { $ne: true } }, [
      ...endWith('coalesced', this.keep, { coalescedInto: literal(id), result: literal(result) }),
    ]);
    if (count === 0) return;
    this.logger.info({ requestId: id, count }, 'Equal requests ended with this one');
    this.observer.requestEnded({
      command: 'syncAll',
      status: 'coalesced',
      seconds: undefined,
      result: undefined,
      count,
    });
  }

  /**
   * A scan keeps its checkpoint under its request's id (src/mirror/scan-state.ts); without a window it has
   * read nothing yet.
   */
  async #goesOn(id: RequestId, object: string): Promise<boolean> {
    const begun = { 'checkpoint.requestId': String(id), 'checkpoint.windows.0': { $exists: true } };
    return (
      (await stateOf(this.database).countDocuments({
        _id: stateIds.scan(object),
        ...begun,
      })) > 0
    );
  }

  get #requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.database);
  }
}

/** A scan that itself waits for another will not run, so its own waiters must not wait for it. */
function isAtWork({ status, command, waitsFor }: mongo.BSON.Document): boolean {
  const isWaiting = status == null || status === 'pending';
  return command === 'syncAll' && (status === 'running' || (isWaiting && waitsFor == null));
}

/** The result to copy from a scan that did the requested work; undefined for any other scan. */
function resultOf({ status, result }: mongo.BSON.Document): mongo.BSON.Document | undefined {
  const isDone = ['succeeded', 'partial', 'coalesced'].some((each) => each === status);
  if (!isDone || typeof result !== 'object' || result === null) return undefined;
  const { items, ...counts } = result as mongo.BSON.Document; // an object, as the line above says
  return { ...counts, items: Array.isArray(items) ? items.slice(0, copiedItems) : [] };
}
