// Steps of a request's life as single atomic updates: claim, renew, finish, retry, release. MongoDB's clock decides what is due and
// whose lease holds; whoever no longer holds the lease changes nothing.
import type { Connection, mongo } from 'mongoose';
import type { Config } from '../config-schema.js';
import type { ErrorReport } from '../errors.js';
import type { SyncResult } from '../sync/outcome.js';
import { requestsOf, type StoredRequest } from './collection.js';
import { type FieldSizes, oversizeOf, parseRequest, statusFault, type SyncCommand } from './commands.js';
import {
  isEndStatus,
  type EndStatus,
  type RequestId,
  type StoredError,
  type StoredProgress,
} from './document.js';
import {
  attemptsSoFar,
  createdAt,
  expireAt,
  type Expression,
  type Filter,
  historyWith,
  isClaimable,
  knownDueAt,
  leaseEnd,
  leaseOver,
  literal,
  makeUpdatable,
  nextFence,
  oddStatus,
  type Pipeline,
  quickProjection,
  readableProjection,
  replaceFields,
  soundHistory,
  withoutEnd,
} from './expressions.js';
import { isTooLarge, persistently } from '../mongo-faults.js';

export type RequestsSettings = Config['requests'];

/** A request that this process holds. */
export interface Claim {
  readonly id: RequestId;
  /** As stored, whatever it is. */
  readonly command: unknown;
  readonly fence: number;
  /** This attempt, counted from 1. */
  readonly attempt: number;
  readonly claimedAt: Date;
  /** When it was inserted, by its ObjectId; never after the claim. */
  readonly insertedAt: Date;
  /** When it could have been claimed first: insertion, `runAt`, or the end of its last attempt. Undefined where it was set back by hand. */
  readonly dueAt: Date | undefined;
  /** `performance.now()` until which the lease certainly holds. */
  readonly leaseUntilMs: number;
}

export type Claimed =
  | {
      readonly kind: 'valid';
      readonly claim: Claim;
      readonly command: SyncCommand;
      readonly dryRun: boolean;
      readonly maxAttempts: number;
    }
  | { readonly kind: 'invalid'; readonly claim: Claim; readonly faults: readonly string[] };

/** `held`: go on. `cancel`: held, and its user wants it stopped. `lost`: somebody else's, or gone. */
export type Holding = 'held' | 'cancel' | 'lost';

export interface Ending {
  readonly status: EndStatus;
  readonly result?: SyncResult | undefined;
  readonly error?: StoredError | undefined;
  /** Replaces `batch`: the ids of one that succeeded. */
  readonly batch?: readonly string[] | undefined;
}

/** How long a step other than claiming is repeated while MongoDB is away. The fence makes it harmless however late it comes. */
const persistWithinMs = 60_000;

/** What a claim projects; computed by our own pipeline, so the types hold. */
interface ClaimedDocument {
  readonly _id: RequestId;
  /** Absent where the request is large. */
  readonly body?: mongo.BSON.Document | undefined;
  readonly attempts: number;
  readonly createdAt: Date;
  readonly startedAt: Date;
  readonly lease: { readonly fence: number; readonly oddStatus?: true; readonly dueAt?: Date };
}

const claimProjection = { ...quickProjection, attempts: 1, createdAt: 1, startedAt: 1, lease: 1 };

export class RequestQueue {
  constructor(
    private readonly connection: Connection,
    /** Name of this process, different for each. */
    readonly owner: string,
    readonly settings: RequestsSettings,
  ) {}

  /**
   * Claims this one, if it waits for one of the commands, is due and not cancelled. Not repeated: a claim whose answer was lost is found
   * again when its lease has run out.
   */
  async claim(id: RequestId, commands: readonly string[]): Promise<Claimed | undefined> {
    const sentAtMs = performance.now();
    const filter = { _id: { $eq: id }, ...isClaimable(commands) };
    const options = { returnDocument: 'after', projection: claimProjection } as const;
    const update = (pipeline: Pipeline) => this.#requests.findOneAndUpdate(filter, pipeline, options);
    const found = await update(this.#claiming).catch((error: unknown) => {
      if (!isTooLarge(error)) throw error;
      return update([makeUpdatable, ...this.#claiming]);
    });
    // The projection above, computed by the pipeline below.
    return found ? this.#parse(found as unknown as ClaimedDocument, sentAtMs) : undefined;
  }

  /**
   * Ids of those that wait and could be claimed: the `limit` oldest, and beside them, for neither kind may starve the other, the `limit`
   * that are due for the longest of those with a `runAt` (asked for, or after a fault). Both searches walk along an index.
   */
  async claimable(
    commands: readonly string[],
    limit: number,
    except: readonly RequestId[] = [],
  ): Promise<readonly RequestId[]> {
    const options = { projection: { _id: 1 }, limit, singleBatch: true };
    const filter = { ...isClaimable(commands), ...(except.length > 0 && { _id: { $nin: [...except] } }) };
    const dueLater = { $and: [{ $gt: ['$runAt', null] }, { $lte: ['$runAt', '$$NOW'] }] };
    const [prompt, delayed] = await Promise.all([
      this.#requests.find({ ...filter, runAt: null }, { ...options, sort: { _id: 1 } }).toArray(),
      this.#requests
        .find({ ...filter, $expr: dueLater }, { ...options, sort: { runAt: 1, _id: 1 } })
        .toArray(),
    ]);
    const ids = Array.from({ length: limit }, (_, index) => [delayed[index], prompt[index]]);
    return ids.flat().flatMap((found) => (found ? [found._id] : []));
  }

  /** Ids of what this process runs and a user wants stopped; for those that no wake-up told. */
  async cancelledIds(): Promise<readonly RequestId[]> {
    const own = { cancel: true, status: 'running', 'lease.owner': this.owner };
    const found = await this.#requests
      .find(own, { projection: { _id: 1 }, limit: 100, singleBatch: true })
      .toArray();
    return found.map(({ _id }) => _id);
  }

  get #claiming(): Pipeline {
    return [
      replaceFields({
        status: 'running',
        lease: {
          owner: literal(this.owner),
          fence: nextFence,
          expiresAt: leaseEnd(this.settings.leaseMs),
          oddStatus,
          dueAt: knownDueAt,
        },
        // Counted before running: a crash must use up an attempt too.
        attempts: { $add: [attemptsSoFar, 1] },
        history: soundHistory,
        createdAt,
        startedAt: '$$NOW',
      }),
      withoutEnd,
    ];
  }

  async #parse(found: ClaimedDocument, sentAtMs: number): Promise<Claimed | undefined> {
    const { body, sizes } = found.body ? { body: found.body, sizes: {} } : await this.#readLarge(found);
    if (!body) return undefined;
    const claim: Claim = {
      id: found._id,
      command: body['command'],
      fence: found.lease.fence,
      attempt: found.attempts,
      claimedAt: found.startedAt,
      insertedAt: found.createdAt,
      dueAt: found.lease.dueAt,
      leaseUntilMs: sentAtMs + this.settings.leaseMs,
    };
    const parsed = parseRequest(body, oversizeOf(sizes));
    const statusFaults = found.lease.oddStatus ? [statusFault('a list')] : [];
    if (parsed.kind === 'invalid')
      return { kind: 'invalid', claim, faults: [...statusFaults, ...parsed.faults] };
    if (statusFaults.length > 0) return { kind: 'invalid', claim, faults: statusFaults };
    const { dryRun, maxAttempts = this.settings.maxAttempts } = parsed.options;
    return { kind: 'valid', claim, command: parsed.command, dryRun, maxAttempts };
  }

  /** What is not too large of a large request. Without a body where it was lost meanwhile. */
  async #readLarge({
    _id,
    lease,
  }: ClaimedDocument): Promise<Pick<ClaimedDocument, 'body'> & { sizes: FieldSizes }> {
    const found = await this.#requests.findOne(
      { _id: { $eq: _id }, 'lease.owner': this.owner, 'lease.fence': lease.fence },
      { projection: readableProjection },
    );
    // Computed by readableProjection.
    return {
      body: found?.['body'] as mongo.BSON.Document | undefined,
      sizes: (found?.['sizes'] ?? {}) as FieldSizes,
    };
  }

  /** Holds the claim for another `leaseMs`, and writes how far the run is. Not repeated: the next one is soon. */
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
   * Ends the request. `held` when it has ended by this call, or by an earlier try of it whose answer was lost.
   * @throws Fault when MongoDB stays away; the signal's reason on abort
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
    // A wish to cancel ends with the request: set back to pending, it shall run.
    const pipeline = [replaceFields(fields), { $unset: [...leaseOver, 'cancel'] }];
    return this.#persist('finishing a request', claim, pipeline, isEndStatus, signal);
  }

  /** Sets it back to pending, due after `delayMs`. */
  async retry(
    claim: Claim,
    attempt: number,
    error: ErrorReport,
    delayMs: number,
    signal?: AbortSignal,
  ): Promise<Holding> {
    const pipeline = this.#backToPending(attempt, attempt, error, delayMs);
    return this.#persist('setting a request back', claim, pipeline, isWaiting, signal);
  }

  /** Sets it back to pending as if this attempt had not been. `delayMs` 0 leaves `runAt` alone. */
  async release(
    claim: Claim,
    attempt: number,
    error: ErrorReport,
    delayMs: number,
    signal?: AbortSignal,
  ): Promise<Holding> {
    const pipeline = this.#backToPending(attempt, Math.max(0, attempt - 1), error, delayMs);
    return this.#persist('releasing a request', claim, pipeline, isWaiting, signal);
  }

  /** As `release`, and `error` of the request says what it waits for until it is claimed again. */
  async hold(
    claim: Claim,
    attempt: number,
    error: ErrorReport,
    delayMs: number,
    signal?: AbortSignal,
  ): Promise<Holding> {
    const pipeline = [
      ...this.#backToPending(attempt, Math.max(0, attempt - 1), error, delayMs),
      replaceFields({ error: literal(error) }),
    ];
    return this.#persist('holding a request', claim, pipeline, isWaiting, signal);
  }

  #backToPending(
    attempt: number,
    attemptsLeftCounted: number,
    error: ErrorReport,
    delayMs: number,
  ): Pipeline {
    return [
      replaceFields({
        status: 'pending',
        attempts: attemptsLeftCounted,
        history: historyWith({ attempt, owner: literal(this.owner), error }),
        ...(delayMs > 0 && { runAt: { $add: ['$$NOW', delayMs] } }),
      }),
      { $unset: leaseOver },
    ];
  }

  /** The step itself, repeated; when it no longer matches, whether that is because it was done before. */
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
    return requestsOf(this.connection);
  }
}

const isWaiting = (status: unknown): boolean => status === 'pending';

const stampedNow = (fields: object): Expression => ({
  $mergeObjects: [literal(fields), { updatedAt: '$$NOW' }],
});

/** For the history: without the list of faults, which `error` has. */
const briefly = ({ faults: _, cause: __, ...report }: StoredError): ErrorReport => report;
