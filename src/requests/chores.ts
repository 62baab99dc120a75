// One guarded update after the other on whatever a filter finds, told to whoever measures. Every replica does the same at the same time:
// of two that update a request one finds it changed.
import type { Connection, mongo } from 'mongoose';
import type { Logger } from '../logger.js';
import { requestsOf, type StoredRequest } from './collection.js';
import { commandNames } from './commands.js';
import { isEndStatus, type RequestId, type StoredError } from './document.js';
import type { Filter, Pipeline } from './expressions.js';
import { commandLabel, type RequestsObserver } from './observer.js';
import { Refusals } from './refusals.js';

/** Requests looked at in one go; a chore goes on until there are fewer. */
const batchSize = 100;

export class Chores {
  readonly #refusals: Refusals;

  constructor(
    private readonly connection: Connection,
    logger: Logger,
    private readonly observer: RequestsObserver,
  ) {
    this.#refusals = new Refusals(logger);
  }

  /** Runs `step` on each request found; counts those it says yes to. One that MongoDB refuses to update is passed over. */
  async each(
    filter: Filter,
    signal: AbortSignal,
    step: (id: RequestId) => Promise<boolean>,
  ): Promise<number> {
    let count = 0;
    for (;;) {
      const found = await this.requests
        .find(this.#exceptRefused(filter), { projection: { _id: 1 }, limit: batchSize, singleBatch: true })
        .toArray();
      let changed = 0;
      for (const { _id } of found) {
        if (signal.aborted) return count;
        if (await this.#refusals.unless(_id, () => step(_id))) changed += 1;
      }
      count += changed;
      // Without a change the same ones would be found again.
      if (found.length < batchSize || changed === 0) return count;
    }
  }

  /** The request after the update; null where it does not match any more. */
  async update(filter: Filter, pipeline: Pipeline): Promise<mongo.BSON.Document | null> {
    const known = { $cond: [{ $in: ['$command', commandNames] }, '$command', 'unknown'] };
    return this.requests.findOneAndUpdate(filter, pipeline, {
      returnDocument: 'after',
      projection: { status: 1, command: known, 'error.code': 1 },
    });
  }

  /** To be told of a request that an update has ended. */
  ended({ command, status, error }: mongo.BSON.Document): void {
    if (!isEndStatus(status)) return;
    // What fails here was given its error by a chore.
    const code = status === 'failed' ? (error as StoredError).code : undefined;
    this.observer.requestEnded({
      command: commandLabel(command),
      status,
      code,
      seconds: undefined,
      result: undefined,
      count: 1,
    });
  }

  get requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.connection);
  }

  #exceptRefused(filter: Filter): Filter {
    const ids = this.#refusals.ids();
    return ids.length === 0 ? filter : { $and: [filter, { _id: { $nin: ids } }] };
  }
}
