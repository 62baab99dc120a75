// What no claim reaches: requests whose holder has died, requests that nobody can run, and wishes to cancel. Every replica does this;
// each step is one guarded update, so it is done once.
import type { Connection, mongo } from 'mongoose';
import type { ErrorReport } from '../errors.js';
import type { Logger } from '../logger.js';
import { requestsOf, type StoredRequest } from './collection.js';
import {
  commandFault,
  commandNames,
  type FieldSizes,
  oversizeOf,
  parseRequest,
  statusFault,
} from './commands.js';
import { describeValue } from './describe-value.js';
import {
  endStatuses,
  isEndStatus,
  requestStatuses,
  type RequestId,
  type StoredError,
  unknownCommandWaitMs,
} from './document.js';
import {
  attemptsSoFar,
  createdAt,
  expireAt,
  type Expression,
  type Filter,
  historyWith,
  isAbandoned,
  isPending,
  leaseOver,
  literal,
  makeUpdatable,
  maxAttemptsOf,
  type Pipeline,
  readableProjection,
  replaceFields,
  withoutEnd,
} from './expressions.js';
import { commandLabel, type RequestsObserver } from './observer.js';
import type { RequestsSettings } from './queue.js';

/** Requests looked at in one go; a sweep goes on until there are fewer. */
const batchSize = 100;

const lost: ErrorReport = {
  code: 'lease_lost',
  message: 'The process that held the request stopped renewing its lease',
};

const isCancelled: Filter = { ...isPending, cancel: true };

const hasOddStatus: Filter = { status: { $nin: [null, ...requestStatuses] } };
const hasOddCommand: Filter = { ...isPending, command: { $nin: commandNames } };
/** Types that sort beside dates on the far side, which "not after now" does not find. */
const hasOddRunAt: Filter = {
  ...isPending,
  runAt: {
    $type: ['minKey', 'maxKey', 'timestamp', 'regex', 'javascript', 'javascriptWithScope', 'dbPointer'],
  },
};
/** A list of words counts as a word to `$type`. */
const isNoWord: Filter = {
  $or: [{ command: { $not: { $type: 'string' } } }, { command: { $type: 'array' } }],
};
const hasWaitedEnough: Filter = {
  $expr: { $lte: [createdAt, { $subtract: ['$$NOW', unknownCommandWaitMs] }] },
};

export class Housekeeping {
  constructor(
    private readonly connection: Connection,
    private readonly settings: RequestsSettings,
    private readonly logger: Logger,
    private readonly observer: RequestsObserver,
  ) {}

  /**
   * Does all of it; returns how many abandoned requests were recovered.
   * @throws what the driver throws; what was done stays done
   */
  async sweep(signal: AbortSignal): Promise<number> {
    const recovered = await this.recover(signal);
    await this.endCancelled(signal);
    await this.failOdd(signal);
    await this.#requests.updateMany(
      { cancel: true, status: { $in: endStatuses } },
      { $unset: { cancel: 1 } },
    );
    return recovered;
  }

  /** Sets abandoned requests back to pending, or ends them where their attempts are used up. */
  async recover(signal: AbortSignal, only: Filter = {}): Promise<number> {
    const exhausted: Expression = { $gte: [attemptsSoFar, maxAttemptsOf(this.settings.maxAttempts)] };
    const ifExhausted = (value: Expression): Expression => ({ $cond: [exhausted, value, '$$REMOVE'] });
    const owner = {
      $cond: [
        { $eq: [{ $type: '$lease.owner' }, 'string'] },
        { $substrCP: ['$lease.owner', 0, 100] },
        'unknown',
      ],
    };
    const error: StoredError = {
      code: 'attempts_exhausted',
      message: 'Every attempt ended with the death of its holder',
      cause: lost,
    };
    const pipeline: Pipeline = [
      makeUpdatable,
      replaceFields({
        status: { $cond: [exhausted, 'failed', 'pending'] },
        attempts: attemptsSoFar,
        createdAt,
        history: historyWith({ attempt: attemptsSoFar, owner, error: lost }),
        finishedAt: ifExhausted('$$NOW'),
        expireAt: ifExhausted(expireAt('failed', this.settings)),
        error: ifExhausted(literal(error)),
      }),
      { $unset: leaseOver },
    ];
    return this.#each({ ...isAbandoned, ...only }, signal, async (id) => {
      const found = await this.#update({ _id: { $eq: id }, ...isAbandoned }, pipeline);
      if (!found) return false;
      this.logger.warn(
        { requestId: id, command: commandLabel(found['command']), status: found['status'] },
        'Abandoned request recovered',
      );
      this.#ended(found);
      return true;
    });
  }

  /** Ends those that wait and are to be cancelled. */
  async endCancelled(signal: AbortSignal, only: Filter = {}): Promise<number> {
    const pipeline: Pipeline = [
      makeUpdatable,
      withoutEnd,
      replaceFields({
        status: 'cancelled',
        createdAt,
        finishedAt: '$$NOW',
        expireAt: expireAt('cancelled', this.settings),
      }),
      { $unset: [...leaseOver, 'cancel'] },
    ];
    return this.#each({ ...isCancelled, ...only }, signal, async (id) => {
      const found = await this.#update({ _id: { $eq: id }, ...isCancelled }, pipeline);
      if (!found) return false;
      this.logger.info(
        { requestId: id, command: commandLabel(found['command']) },
        'Waiting request cancelled',
      );
      this.#ended(found);
      return true;
    });
  }

  /** Fails what no claim takes: a status or command of nonsense at once, an unknown command when it has waited for its version. */
  async failOdd(signal: AbortSignal, only: Filter = {}): Promise<number> {
    await this.#dateUnknown(only);
    const unknown = { ...hasOddCommand, ...hasWaitedEnough };
    let failed = 0;
    for (const filter of [hasOddStatus, { ...hasOddCommand, ...isNoWord }, hasOddRunAt, unknown]) {
      failed += await this.#each({ ...filter, ...only }, signal, async (id) => this.#failOne(id, filter));
    }
    return failed;
  }

  /** An unknown command is given its time from when it was first seen, where its `_id` does not tell or lies in the future. */
  async #dateUnknown(only: Filter): Promise<void> {
    const isDated = { $and: [{ $eq: [{ $type: '$createdAt' }, 'date'] }, { $lte: ['$createdAt', '$$NOW'] }] };
    const undated = { ...hasOddCommand, $expr: { $not: [isDated] }, ...only };
    await this.#requests.updateMany(undated, [makeUpdatable, replaceFields({ createdAt })]);
  }

  async #failOne(id: RequestId, filter: Filter): Promise<boolean> {
    const guard = { _id: { $eq: id }, ...filter };
    const read = await this.#requests.findOne(guard, {
      projection: { ...readableProjection, status: boundedStatus },
    });
    if (!read) return false;
    const error = oddityOf(read);
    const found = await this.#update(guard, [
      makeUpdatable,
      withoutEnd,
      replaceFields({
        status: 'failed',
        createdAt,
        finishedAt: '$$NOW',
        expireAt: expireAt('failed', this.settings),
        error: literal(error),
      }),
      { $unset: [...leaseOver, 'cancel'] },
    ]);
    if (!found) return false;
    this.logger.warn({ requestId: id, command: commandLabel(found['command']), error }, 'Request refused');
    this.#ended(found);
    return true;
  }

  /** Runs `step` on each request found; counts those it says yes to. */
  async #each(
    filter: Filter,
    signal: AbortSignal,
    step: (id: RequestId) => Promise<boolean>,
  ): Promise<number> {
    let count = 0;
    for (;;) {
      const found = await this.#requests
        .find(filter, { projection: { _id: 1 }, limit: batchSize, singleBatch: true })
        .toArray();
      let changed = 0;
      for (const { _id } of found) {
        if (signal.aborted) return count;
        if (await step(_id)) changed += 1;
      }
      count += changed;
      // Without a change the same ones would be found again.
      if (found.length < batchSize || changed === 0) return count;
    }
  }

  async #update(filter: Filter, pipeline: Pipeline): Promise<mongo.BSON.Document | null> {
    const known = { $cond: [{ $in: ['$command', commandNames] }, '$command', 'unknown'] };
    return this.#requests.findOneAndUpdate(filter, pipeline, {
      returnDocument: 'after',
      projection: { status: 1, command: known, 'error.code': 1 },
    });
  }

  #ended({ command, status, error }: mongo.BSON.Document): void {
    if (!isEndStatus(status)) return;
    // What fails here was given its error by this class.
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

  get #requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.connection);
  }
}

const boundedStatus = {
  $cond: [{ $lte: [{ $bsonSize: { value: '$status' } }, 1_024] }, '$status', 'too-large'],
};

/** What is wrong with it, from the projection of `#failOne`. */
function oddityOf({ status, body, sizes }: mongo.BSON.Document): StoredError {
  const fields = body as mongo.BSON.Document; // computed by readableProjection
  const command: unknown = fields['command'];
  const parsed = parseRequest(fields, oversizeOf(sizes as FieldSizes)); // computed by readableProjection
  const isStatusOdd = status != null && !requestStatuses.some((known) => known === status);
  const faults = [
    ...(isStatusOdd ? [statusFault(describeValue(status))] : []),
    ...(parsed.kind === 'invalid' ? parsed.faults : []),
  ];
  if (!isStatusOdd && typeof command === 'string' && commandLabel(command) === 'unknown') {
    return { code: 'unknown_command', message: commandFault(command), faults };
  }
  return { code: 'invalid_request', message: faults.join('; '), faults };
}
