// Guarded updates: each repeats the filter that found the request. Every replica runs the same updates
// concurrently. If two update one request, the second no longer matches.
import { mongo } from 'mongoose';
import { isFault } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import { isPassing, refusesEveryWrite } from '../../mongo/faults.js';
import type { OurDatabase } from '../../mongo/sync-state.js';
import { commandNames } from '../commands.js';
import type { Filter, Pipeline } from '../expressions.js';
import { commandLabel, type RequestsObserver } from '../observer.js';
import { isEndStatus, type RequestId, requestsOf, type StoredError, type StoredRequest } from '../request.js';

/** Requests found at once; an update goes on until there are fewer. */
const batchSize = 100;

/** The update of one request; undefined where it no longer needs one. */
export type UpdateOf = (guard: Filter) => Promise<Pipeline | undefined>;

export class GuardedUpdates {
  readonly #refusals: Refusals;

  constructor(
    private readonly database: OurDatabase,
    logger: Logger,
    private readonly observer: RequestsObserver,
  ) {
    this.#refusals = new Refusals(logger);
  }

  /**
   * Updates each request that matches both filters, and counts them. One that MongoDB refuses to update is
   * passed over.
   * @param guard what must still hold when the update is made
   * @param onUpdated gets id, command, status and error code of the updated request
   */
  async all(
    guard: Filter,
    only: Filter,
    update: Pipeline | UpdateOf,
    signal: AbortSignal,
    onUpdated: (request: mongo.BSON.Document) => void = () => undefined,
  ): Promise<number> {
    const options = { projection: { _id: 1 }, limit: batchSize, singleBatch: true };
    for (let count = 0; ;) {
      const except = { _id: { $nin: this.#refusals.ids() } };
      const found = await this.requests.find({ $and: [guard, only, except] }, options).toArray();
      let changed = 0;
      for (const { _id } of found) {
        if (signal.aborted) return count + changed;
        const updated = await this.#refusals.unless(_id, () =>
          this.#one({ _id: { $eq: _id }, ...guard }, update),
        );
        if (!updated) continue;
        changed += 1;
        onUpdated(updated);
      }
      count += changed;
      // Without a change, the next search would find the same requests again.
      if (found.length < batchSize || changed === 0) return count;
    }
  }

  /** The request after the update; null if it no longer matches. */
  async #one(guard: Filter, update: Pipeline | UpdateOf): Promise<mongo.BSON.Document | null> {
    const pipeline = typeof update === 'function' ? await update(guard) : update;
    if (!pipeline) return null;
    const known = { $cond: [{ $in: ['$command', commandNames] }, '$command', 'unknown'] };
    return this.requests.findOneAndUpdate(guard, pipeline, {
      returnDocument: 'after',
      projection: { status: 1, command: known, 'error.code': 1 },
    });
  }

  /** Called for each request that an update has ended. */
  ended({ command, status, error }: mongo.BSON.Document): void {
    if (!isEndStatus(status)) return;
    // What fails here was given its error by the update.
    const code = status === 'failed' ? (error as StoredError).code : undefined;
    const label = commandLabel(command);
    this.observer.requestEnded({
      command: label,
      status,
      code,
      seconds: undefined,
      result: undefined,
      count: 1,
    });
  }

  /** As of `Refusals`. */
  refusalOf(id: RequestId): unknown {
    return this.#refusals.of(id);
  }

  get requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.database);
  }
}

// Requests that MongoDB refuses to update, for any reason. They are skipped for a while, so that they do not
// block others.
/** How long a refused request is skipped. */
const refusedForMs = 60_000;
/** If more requests than this are refused, the requests are not the cause. */
const maxRefused = 100;

/** A request's id as a key: users choose the type of `_id`. */
export const keyOf = (id: RequestId): string => mongo.BSON.EJSON.stringify({ id });

interface Refused {
  readonly id: RequestId;
  readonly untilMs: number;
  readonly error: unknown;
}

export class Refusals {
  readonly #refused = new Map<string, Refused>();

  constructor(private readonly logger: Logger) {}

  /** To be skipped for now. */
  ids(): readonly RequestId[] {
    for (const [key, { untilMs }] of this.#refused)
      if (untilMs < performance.now()) this.#refused.delete(key);
    return [...this.#refused.values()].map(({ id }) => id);
  }

  /** Why MongoDB has refused it lately; undefined if it has not. */
  of(id: RequestId): unknown {
    return this.#refused.get(keyOf(id))?.error;
  }

  /**
   * The result of the step; undefined if MongoDB refuses this request.
   * @throws faults that have another cause than the request, a missing right among them
   */
  async unless<T>(id: RequestId, step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step();
    } catch (error) {
      const isOfRequest = !isPassing(error) && !isFault(error) && !refusesEveryWrite(error);
      if (!isOfRequest || this.#refused.size >= maxRefused) throw error;
      this.#refused.set(keyOf(id), { id, untilMs: performance.now() + refusedForMs, error });
      this.logger.error({ err: error, requestId: id }, 'MongoDB refuses to update a request');
      return undefined;
    }
  }
}
