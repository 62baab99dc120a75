// The sweep handles what no claim reaches. It recovers requests whose holder has died, fails those that no
// daemon can run, and ends cancelled ones. Every replica sweeps; each step is one guarded update, so it
// happens once.
import type { mongo } from 'mongoose';
import type { ErrorReport } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import type { OurDatabase } from '../../mongo/sync-state.js';
import {
  attemptsSoFar,
  createdAt,
  endWith,
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
  replaceFields,
} from '../expressions.js';
import { commandLabel, type RequestsObserver } from '../observer.js';
import { endStatuses, type RequestId, type StoredError } from '../request.js';
import type { RequestsSettings } from '../steps.js';
import { GuardedUpdates } from './guarded-updates.js';
import { UnusableRequests } from './unusable-requests.js';

const lost: ErrorReport = {
  code: 'lease_lost',
  message: 'The process that held the request stopped renewing its lease',
};

export class Sweeper {
  readonly #updates: GuardedUpdates;
  readonly #unusable: UnusableRequests;

  constructor(
    database: OurDatabase,
    private readonly settings: RequestsSettings,
    private readonly logger: Logger,
    observer: RequestsObserver,
  ) {
    this.#updates = new GuardedUpdates(database, logger, observer);
    this.#unusable = new UnusableRequests(this.#updates, settings, logger);
  }

  /**
   * Runs all steps; returns how many abandoned requests were recovered.
   * @throws what the driver throws; completed updates remain
   */
  async sweep(signal: AbortSignal): Promise<number> {
    const recovered = await this.recover(signal);
    await this.endCancelled(signal);
    await this.failUnusable(signal);
    // A cancellation that came after the end must not end a later run.
    const cancelledLate = { cancel: true, status: { $in: endStatuses } };
    await this.#updates.all(cancelledLate, {}, [{ $unset: 'cancel' }], signal);
    return recovered;
  }

  /** Why MongoDB has lately refused to update the request; undefined if it has not. */
  refusalOf(id: RequestId): unknown {
    return this.#updates.refusalOf(id);
  }

  /** Fails requests that no claim takes. */
  async failUnusable(signal: AbortSignal, only: Filter = {}): Promise<number> {
    return this.#unusable.fail(signal, only);
  }

  /** Requeues abandoned requests, or ends them if their attempts are used up. */
  async recover(signal: AbortSignal, only: Filter = {}): Promise<number> {
    return this.#updates.all(isAbandoned, only, recovery(this.settings), signal, (request) => {
      this.#log('warn', request, 'Abandoned request recovered', { status: request['status'] as unknown });
      this.#updates.ended(request);
    });
  }

  /** Ends pending requests that were cancelled. */
  async endCancelled(signal: AbortSignal, only: Filter = {}): Promise<number> {
    const isCancelled = { ...isPending, cancel: true };
    const pipeline = [makeUpdatable, ...endWith('cancelled', this.settings)];
    return this.#updates.all(isCancelled, only, pipeline, signal, (request) => {
      this.#log('info', request, 'Waiting request cancelled');
      this.#updates.ended(request);
    });
  }

  #log(
    level: 'info' | 'warn',
    { _id, command }: mongo.BSON.Document,
    message: string,
    fields?: object,
  ): void {
    this.logger[level]({ requestId: _id as unknown, command: commandLabel(command), ...fields }, message);
  }
}

function recovery(settings: RequestsSettings): Pipeline {
  const exhausted: Expression = { $gte: [attemptsSoFar, maxAttemptsOf(settings.maxAttempts)] };
  const ifExhausted = (value: Expression): Expression => ({ $cond: [exhausted, value, '$$REMOVE'] });
  const isText = { $eq: [{ $type: '$lease.owner' }, 'string'] };
  const owner = { $cond: [isText, { $substrCP: ['$lease.owner', 0, 100] }, 'unknown'] };
  const error: StoredError = {
    code: 'attempts_exhausted',
    message: 'Every attempt ended with the death of its holder',
    cause: lost,
  };
  return [
    makeUpdatable,
    replaceFields({
      status: { $cond: [exhausted, 'failed', 'pending'] },
      attempts: attemptsSoFar,
      createdAt,
      history: historyWith({ attempt: attemptsSoFar, owner, error: lost }),
      finishedAt: ifExhausted('$$NOW'),
      expireAt: ifExhausted(expireAt('failed', settings)),
      error: ifExhausted(literal(error)),
    }),
    { $unset: leaseOver },
  ];
}
