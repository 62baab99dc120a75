// Equal scans: of several requests for the same scan one runs for all. The others wait for its end, and end
// with its result if it did the work. Each sweep looks at what they wait for, so nothing is lost with the
// process that ran it.
import type { Connection, mongo } from 'mongoose';
import type { Logger } from '../../base/logger.js';
import { databaseOf, stateIds, stateOf } from '../../mongo/sync-state.js';
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
 * Due, or held by a daemon until reads are allowed again: the scan that runs reads later than it would have.
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

/** Scans that wait for others which are looked at at once. */
const mostJoined = 1_000;
/** Items of a result that are copied to those that ended with it. */
const copiedItems = 100;

export class EqualScans {
  constructor(
    private readonly connection: Connection,
    private readonly keep: Retention,
    private readonly logger: Logger,
    private readonly observer: RequestsObserver,
  ) {}

  /**
   * Has the full scans that wait now, and ask for the same as the one that is about to run, wait for its end.
   * None where it goes on from a checkpoint: it has read customers before the others were asked for. @throws
   * what the driver throws
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
   * Settles what waits for a scan that runs for it no more: where that did the work they end `coalesced` with
   * its result, otherwise they wait for themselves again. Returns how many do. @throws what the driver
   * throws; what was done stays done
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

  /** `settle` for whatever is waited for. */
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
   * Detaches a request from the scan that it waits for, unless that one runs just now. @throws what the
   * driver throws
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
      (await stateOf(databaseOf(this.connection)).countDocuments({
        _id: stateIds.scan(object),
        ...begun,
      })) > 0
    );
  }

  get #requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.connection);
  }
}

/** A scan that itself waits for another will not run: what waits for it must not wait for ever. */
function isAtWork({ status, command, waitsFor }: mongo.BSON.Document): boolean {
  const isWaiting = status == null || status === 'pending';
  return command === 'syncAll' && (status === 'running' || (isWaiting && waitsFor == null));
}

/** The result of a scan that did what was asked for, as it is copied; undefined of any other. */
function resultOf({ status, result }: mongo.BSON.Document): mongo.BSON.Document | undefined {
  const isDone = ['succeeded', 'partial', 'coalesced'].some((each) => each === status);
  if (!isDone || typeof result !== 'object' || result === null) return undefined;
  const { items, ...counts } = result as mongo.BSON.Document; // an object, as the line above says
  return { ...counts, items: Array.isArray(items) ? items.slice(0, copiedItems) : [] };
}
