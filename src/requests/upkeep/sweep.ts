// What no claim reaches: requests whose holder has died, requests that nobody can run, and wishes to cancel. Every replica does this;
// each step is one guarded update, so it is done once.
import type { Connection } from 'mongoose';
import type { ErrorReport } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
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
  replaceFields,
  withoutEnd,
} from '../expressions.js';
import { commandLabel, type RequestsObserver } from '../observer.js';
import { endStatuses, type StoredError } from '../request.js';
import type { RequestsSettings } from '../steps.js';
import { GuardedUpdates } from './guarded-updates.js';
import { UnusableRequests } from './unusable-requests.js';

const lost: ErrorReport = {
  code: 'lease_lost',
  message: 'The process that held the request stopped renewing its lease',
};

const isCancelled: Filter = { ...isPending, cancel: true };

export class Sweeper {
  readonly #chores: GuardedUpdates;
  readonly #odd: UnusableRequests;

  constructor(
    connection: Connection,
    private readonly settings: RequestsSettings,
    private readonly logger: Logger,
    observer: RequestsObserver,
  ) {
    this.#chores = new GuardedUpdates(connection, logger, observer);
    this.#odd = new UnusableRequests(this.#chores, settings, logger);
  }

  /**
   * Does all of it; returns how many abandoned requests were recovered.
   * @throws what the driver throws; what was done stays done
   */
  async sweep(signal: AbortSignal): Promise<number> {
    const recovered = await this.recover(signal);
    await this.endCancelled(signal);
    await this.failUnusable(signal);
    await this.#forgetCancels(signal);
    return recovered;
  }

  /** Fails what no claim takes. */
  async failUnusable(signal: AbortSignal, only: Filter = {}): Promise<number> {
    return this.#odd.fail(signal, only);
  }

  /** A wish to cancel that came after the end must not end a later life. */
  async #forgetCancels(signal: AbortSignal): Promise<void> {
    const isLate = { cancel: true, status: { $in: endStatuses } };
    await this.#chores.each(isLate, signal, async (id) => {
      const late = { _id: { $eq: id }, ...isLate };
      return (await this.#chores.requests.updateOne(late, { $unset: { cancel: 1 } })).matchedCount === 1;
    });
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
    return this.#chores.each({ ...isAbandoned, ...only }, signal, async (id) => {
      const found = await this.#chores.update({ _id: { $eq: id }, ...isAbandoned }, pipeline);
      if (!found) return false;
      this.logger.warn(
        { requestId: id, command: commandLabel(found['command']), status: found['status'] },
        'Abandoned request recovered',
      );
      this.#chores.ended(found);
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
    return this.#chores.each({ ...isCancelled, ...only }, signal, async (id) => {
      const found = await this.#chores.update({ _id: { $eq: id }, ...isCancelled }, pipeline);
      if (!found) return false;
      this.logger.info(
        { requestId: id, command: commandLabel(found['command']) },
        'Waiting request cancelled',
      );
      this.#chores.ended(found);
      return true;
    });
  }
}
