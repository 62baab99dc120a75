// State changes of a request that this process holds: renew, finish, requeue. Each is one atomic update by
// MongoDB's clock. A process that has lost the lease changes nothing.
import type { mongo } from 'mongoose';
import type { ErrorReport } from '../base/errors.js';
import { GroupCommit } from '../base/group-commit.js';
import type { Config } from '../config/schema.js';
import { persistently } from '../mongo/faults.js';
import type { OurDatabase } from '../mongo/sync-state.js';
import type { SyncResult } from '../sync/outcome.js';
import type { Claim } from './claims.js';
import {
  expireAt,
  type Expression,
  type Filter,
  historyWith,
  leaseEnd,
  leaseOver,
  literal,
  type Pipeline,
  replaceFields,
} from './expressions.js';
import {
  type EndStatus,
  isEndStatus,
  type RequestId,
  requestsOf,
  type StoredError,
  type StoredProgress,
  type StoredRequest,
} from './request.js';

export type RequestsSettings = Config['requests'];

/**
 * `held`: continue. `cancel`: held, and its user has cancelled it. `lost`: another process holds it, or it is
 * gone.
 */
export type Holding = 'held' | 'cancel' | 'lost';

export interface Ending {
  readonly status: EndStatus;
  readonly result?: SyncResult | undefined;
  readonly error?: StoredError | undefined;
  /** Replaces `batch`: the ids of one that succeeded. */
  readonly batch?: readonly string[] | undefined;
}

/** Why a request waits again. */
export interface Requeue {
  /**
   * `retry`: the attempt counts. `release`: it does not count. `hold`: it does not count, and `error` of the
   * request holds the reason until the next claim.
   */
  readonly kind: 'retry' | 'release' | 'hold';
  readonly error: ErrorReport;
  readonly delayMs: number;
}

/**
 * How long a step other than a claim is repeated while MongoDB is unavailable. The fence makes a late step
 * harmless.
 */
const persistWithinMs = 60_000;

/** A request to be ended, and how. */
interface End {
  readonly claim: Claim;
  readonly pipeline: Pipeline;
  readonly signal: AbortSignal | undefined;
}

export class RequestSteps {
  readonly #ends = new GroupCommit<End, Holding>((ends) => this.#endAll(ends));

  constructor(
    private readonly database: OurDatabase,
    /** Name of this process, different for each. */
    readonly owner: string,
    readonly settings: RequestsSettings,
  ) {}

  /**
   * Ids of requests that this process runs and a user has cancelled; it finds those that no wake-up reported.
   */
  async cancelledIds(): Promise<readonly RequestId[]> {
    const own = { cancel: true, status: 'running', 'lease.owner': this.owner };
    const found = await this.#requests
      .find(own, { projection: { _id: 1 }, limit: 100, singleBatch: true })
      .toArray();
    return found.map(({ _id }) => _id);
  }

  /**
   * Extends the claim by `leaseMs` and writes the progress. Not repeated, because the next renewal is soon.
   */
  async renew(
    claim: Claim,
    changes: {
      readonly progress?: Omit<StoredProgress, 'updatedAt'> | undefined;
      readonly attempts?: number | undefined;
    },
  ): Promise<Holding> {
    const found = await this.#requests.findOneAndUpdate(
      this.#held(claim),
      [
        {
          $set: {
            'lease.expiresAt': leaseEnd(this.settings.leaseMs),
            ...(changes.attempts !== undefined && { attempts: changes.attempts }),
          },
        },
        ...(changes.progress ? [replaceFields({ progress: stampedNow(changes.progress) })] : []),
      ],
      { projection: { cancel: 1 }, returnDocument: 'after' },
    );
    if (!found) return 'lost';
    return found['cancel'] === true ? 'cancel' : 'held';
  }

  /**
   * Ends the request. `held` if this call ended it, or an earlier try whose response was lost.
   * @throws Fault if MongoDB stays unavailable; the signal's reason on abort
   */
  async finish(claim: Claim, attempt: number, ending: Ending, signal?: AbortSignal): Promise<Holding> {
    const { status, result, error, batch } = ending;
    const fields: Record<string, Expression> = {
      status,
      attempts: attempt,
      finishedAt: '$$NOW',
      expireAt: expireAt(status, this.settings),
      history: historyWith({ attempt, owner: literal(this.owner), ...(error && { error: briefly(error) }) }),
      ...(result && { result: literal(result) }),
      ...(error && { error: literal(error) }),
      ...(batch && { batch: literal(batch) }),
    };
    // The cancellation ends with the request, so that the request runs if a user requeues it by hand.
    const pipeline = [replaceFields(fields), { $unset: [...leaseOver, 'cancel'] }];
    return this.#ends.run({ claim, pipeline, signal });
  }

  /** Ends all in one command. If any did not match, each is ended separately. */
  async #endAll(ends: readonly End[]): Promise<readonly (Holding | Promise<Holding>)[]> {
    const byItself = ({ claim, pipeline, signal }: End): Promise<Holding> =>
      this.#persist('finishing a request', claim, pipeline, isEndStatus, signal);
    if (ends.length === 1) return ends.map(byItself);
    const operations = ends.map(({ claim, pipeline }) => ({
      updateOne: { filter: this.#held(claim), update: pipeline },
    }));
    const matched = await this.#requests.bulkWrite(operations, { ordered: false }).then(
      ({ matchedCount }) => matchedCount,
      () => undefined,
    );
    return ends.map((end) => (matched === ends.length ? 'held' : byItself(end)));
  }

  /** Requeues it as pending, due after `delayMs`; 0 leaves `runAt` unchanged. */
  async requeue(
    claim: Claim,
    attempt: number,
    { kind, error, delayMs }: Requeue,
    signal?: AbortSignal,
  ): Promise<Holding> {
    const pipeline: Pipeline = [
      replaceFields({
        status: 'pending',
        attempts: kind === 'retry' ? attempt : Math.max(0, attempt - 1),
        history: historyWith({ attempt, owner: literal(this.owner), error }),
        ...(delayMs > 0 && { runAt: { $add: ['$$NOW', delayMs] } }),
        ...(kind === 'hold' && { error: literal(error) }),
      }),
      { $unset: leaseOver },
    ];
    return this.#persist('requeueing a request', claim, pipeline, isWaiting, signal);
  }

  /** Repeats the step. When it no longer matches, an earlier try may have done it. */
  async #persist(
    doing: string,
    claim: Claim,
    pipeline: Pipeline,
    isDone: (status: unknown) => boolean,
    signal?: AbortSignal,
  ): Promise<Holding> {
    return persistently(
      doing,
      async () => {
        const { matchedCount } = await this.#requests.updateOne(this.#held(claim), pipeline);
        if (matchedCount === 1) return 'held';
        const left = { _id: { $eq: claim.id }, 'lease.owner': this.owner, 'lease.fence': claim.fence };
        const found = await this.#requests.findOne(left, { projection: { status: 1 } });
        return found && isDone(found['status']) ? 'held' : 'lost';
      },
      { withinMs: persistWithinMs, ...(signal && { signal }) },
    );
  }

  #held({ id, fence }: Claim): Filter {
    return { _id: { $eq: id }, status: 'running', 'lease.owner': this.owner, 'lease.fence': fence };
  }

  get #requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.database);
  }
}

const isWaiting = (status: unknown): boolean => status === 'pending';

const stampedNow = (fields: object): Expression => ({
  $mergeObjects: [literal(fields), { updatedAt: '$$NOW' }],
});

/** The entry for the history, without the list of faults that `error` has. */
const briefly = ({ faults: _, cause: __, ...report }: StoredError): ErrorReport => report;
