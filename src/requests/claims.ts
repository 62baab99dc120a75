// Finds requests that wait, and claims them. A claim is one atomic update; claims that are asked for at once
// go in one command. MongoDB's clock decides what is due.
import { mongo } from 'mongoose';
import { GroupCommit } from '../base/group-commit.js';
import { isTooLarge, persistently } from '../mongo/faults.js';
import type { OurDatabase } from '../mongo/sync-state.js';
import type { Insertion } from '../sync/telling.js';
import type { SyncCommand } from './commands.js';
import {
  attemptsSoFar,
  createdAt,
  type Expression,
  isClaimable,
  knownDueAt,
  leaseEnd,
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
import type { Known, Seals, Stamp } from './insertion.js';
import { type FieldSizes, oversizeOf, parseRequest, statusFault } from './parse.js';
import { type RequestId, requestsOf, type StoredRequest } from './request.js';
import { keyOf } from './upkeep/guarded-updates.js';

/** A request that this process holds. */
export interface Claim {
  readonly id: RequestId;
  /** The stored fields, unvalidated. */
  readonly command: unknown;
  readonly fence: number;
  /** This attempt, counted from 1. */
  readonly attempt: number;
  readonly claimedAt: Date;
  /** When it was inserted, by its ObjectId; never after the claim. */
  readonly insertedAt: Date;
  /** Where the insertion of a batch stands, if an event or a stamp of a daemon tells it. */
  readonly known: Known | undefined;
  /**
   * When it first could have been claimed: insertion, `runAt`, or the end of its last attempt. Undefined if a
   * user requeued it by hand.
   */
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

/** What a claim projects; computed by our own pipeline, so the types hold. */
interface ClaimedDocument {
  readonly _id: RequestId;
  /** Absent where the request is large. */
  readonly body?: mongo.BSON.Document | undefined;
  readonly attempts: number;
  readonly createdAt: Date;
  readonly startedAt: Date;
  /** Of a batch; anybody may have written it. */
  readonly inserted?: unknown;
  readonly lease: { readonly fence: number; readonly oddStatus?: true; readonly dueAt?: Date };
}

const claimProjection = {
  ...quickProjection,
  attempts: 1,
  createdAt: 1,
  startedAt: 1,
  lease: 1,
  inserted: { $cond: [{ $eq: ['$command', 'syncBatch'] }, '$inserted', '$$REMOVE'] },
};

/** What the event of an insertion told, and the stamp to store. */
export interface ToldInsertion {
  readonly insertion: Insertion;
  /** Undefined while this process cannot seal one; the follower stores it then. */
  readonly stamp: Stamp | undefined;
}

/** A request to be claimed, and the commands that it may have. */
interface ClaimCall {
  readonly id: RequestId;
  readonly commands: readonly string[];
  readonly told: ToldInsertion | undefined;
}

/** Where insertions are read from: see worker/insertions.ts. */
export interface InsertionSource {
  readonly seals: Pick<Seals, 'read'>;
  of(id: RequestId): ToldInsertion | undefined;
  /** Its stamp is stored now. */
  forget(id: RequestId): void;
}

/** For processes without change stream and stamps. */
const noInsertions: InsertionSource = {
  seals: { read: () => Promise.resolve(undefined) },
  of: () => undefined,
  forget: () => undefined,
};

export interface SearchOptions {
  /** Requests to leave out. */
  readonly except?: readonly RequestId[];
  /** Leaves out batches without a stamp, of whatever origin it is. */
  readonly onlyStamped?: boolean;
}

export class Claims {
  readonly #group = new GroupCommit<ClaimCall, Claimed | undefined>((calls) => this.#claimAll(calls));

  constructor(
    private readonly database: OurDatabase,
    /** Name of this process, different for each. */
    private readonly owner: string,
    private readonly settings: { readonly leaseMs: number; readonly maxAttempts: number },
    private readonly insertions: InsertionSource = noInsertions,
  ) {}

  /**
   * Claims the request if it is pending, has one of the commands, is due and not cancelled. A claim is not
   * repeated: if its response is lost, the request is recovered when the lease has expired.
   */
  async claim(id: RequestId, commands: readonly string[]): Promise<Claimed | undefined> {
    return this.#group.run({ id, commands, told: this.insertions.of(id) });
  }

  /**
   * Ids of requests that could be claimed. Half are the `limit` oldest without a `runAt`, half the `limit`
   * with a `runAt` that have been due for the longest, so that neither kind starves the other. Both searches
   * follow an index.
   */
  async claimable(
    commands: readonly string[],
    limit: number,
    { except = [], onlyStamped = false }: SearchOptions = {},
  ): Promise<readonly RequestId[]> {
    const options = { projection: { _id: 1 }, limit, singleBatch: true };
    const filter = {
      ...isClaimable(commands),
      ...(except.length > 0 && { _id: { $nin: [...except] } }),
      ...(onlyStamped && { $nor: [unstampedBatch] }),
    };
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

  async #claimAll(calls: readonly ClaimCall[]): Promise<readonly ReturnType<Claims['claim']>[]> {
    const [first] = calls;
    const isOneKind = calls.every(({ commands }) => commands === first?.commands);
    if (!first || calls.length === 1 || !isOneKind) return calls.map((each) => this.#claimOne(each));
    return this.#claimMany(calls, first.commands);
  }

  async #claimOne({ id, commands, told }: ClaimCall): Promise<Claimed | undefined> {
    const sentAtMs = performance.now();
    const filter = { _id: { $eq: id }, ...isClaimable(commands) };
    const options = { returnDocument: 'after', projection: claimProjection } as const;
    const update = (pipeline: Pipeline) => this.#requests.findOneAndUpdate(filter, pipeline, options);
    const claiming = this.#claiming(told?.stamp && literal(told.stamp));
    const found = await update(claiming).catch((error: unknown) => {
      if (!isTooLarge(error)) throw error;
      return update([makeUpdatable, ...claiming]);
    });
    // The projection above, computed by the pipeline below.
    return found ? this.#parse(found as unknown as ClaimedDocument, sentAtMs, told) : undefined;
  }

  /**
   * One command claims all it can, and a second one reads the result, so a lost response to the first loses
   * no claim. After a failed command the rest is claimed one by one. That way a request that MongoDB refuses
   * to update does not block the others.
   */
  async #claimMany(
    calls: readonly ClaimCall[],
    commands: readonly string[],
  ): Promise<readonly ReturnType<Claims['claim']>[]> {
    const sentAtMs = performance.now();
    const mark = new mongo.ObjectId();
    const areCalled = { _id: { $in: calls.map(({ id }) => id) } };
    const failed = await this.#requests
      .updateMany({ ...areCalled, ...isClaimable(commands) }, this.#claiming(stampById(calls), mark), {
        hint: { _id: 1 },
      })
      .then(
        () => false,
        () => true,
      );
    const found = await persistently('reading what was claimed', () =>
      this.#requests
        .find(
          { ...areCalled, status: 'running', 'lease.owner': this.owner, 'lease.claim': mark },
          { projection: claimProjection },
        )
        .toArray(),
    );
    // The projection above, computed by the pipeline below.
    const claimed = new Map(found.map((each) => [keyOf(each._id), each as unknown as ClaimedDocument]));
    return calls.map(async (each) => {
      const key = keyOf(each.id);
      const mine = claimed.get(key);
      // A wake-up and a search may both ask for the same request: it is claimed once.
      claimed.delete(key);
      if (mine) return this.#parse(mine, sentAtMs, each.told);
      return failed ? this.#claimOne(each) : undefined;
    });
  }

  /**
   * @param stamp to store on it, if any
   * @param mark of the command that claims several
   */
  #claiming(stamp: Expression | undefined, mark?: mongo.ObjectId): Pipeline {
    return [
      replaceFields({
        status: 'running',
        lease: {
          owner: literal(this.owner),
          fence: nextFence,
          expiresAt: leaseEnd(this.settings.leaseMs),
          oddStatus,
          dueAt: knownDueAt,
          ...(mark && { claim: mark }),
        },
        // Counted before running: a crash must use up an attempt too.
        attempts: { $add: [attemptsSoFar, 1] },
        history: soundHistory,
        createdAt,
        startedAt: '$$NOW',
        ...(stamp !== undefined && { inserted: stamp }),
      }),
      withoutEnd,
    ];
  }

  async #parse(
    found: ClaimedDocument,
    sentAtMs: number,
    told: ToldInsertion | undefined,
  ): Promise<Claimed | undefined> {
    if (told?.stamp) this.insertions.forget(found._id);
    const known = told?.insertion ?? (await this.insertions.seals.read(found._id, found.inserted));
    const { body, sizes } = found.body ? { body: found.body, sizes: {} } : await this.#readLarge(found);
    if (!body) return undefined;
    const claim: Claim = {
      id: found._id,
      command: body['command'],
      fence: found.lease.fence,
      attempt: found.attempts,
      claimedAt: found.startedAt,
      insertedAt: found.createdAt,
      known,
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

  /**
   * The fields of a large request that are within their limits. There is no body if the request was lost
   * meanwhile.
   */
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

  get #requests(): mongo.Collection<StoredRequest> {
    return requestsOf(this.database);
  }
}

const unstampedBatch = { command: 'syncBatch', 'inserted.seal': { $exists: false } };

/** The stamp of each call for its own request; undefined if no call has one. */
function stampById(calls: readonly ClaimCall[]): Expression | undefined {
  const stamps = calls.flatMap(({ id, told }) => (told?.stamp ? [{ id, stamp: told.stamp }] : []));
  if (stamps.length === 0) return undefined;
  const branches = stamps.map(({ id, stamp }) => ({
    case: { $eq: ['$_id', literal(id)] },
    then: literal(stamp),
  }));
  // A field that is missing stays so.
  return { $switch: { branches, default: '$inserted' } };
}
