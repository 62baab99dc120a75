// What the sync needs from outside: a source to read (Stripe), a mirror to write (MongoDB), a place for scan state.
// Adapters implement these; nothing here knows stripe, mongoose or prom-client.
/** Id of an object at Stripe, checked against `stripeIdPattern`. */
export type StripeId = string & { readonly __brand: 'StripeId' };

/** What may stand in a URL to Stripe as an id. Anything else never leaves the process (`..`, `''`, line breaks, objects). */
export const stripeIdPattern = /^[A-Za-z0-9_-]{1,255}$/;

export const isStripeId = (value: unknown): value is StripeId =>
  typeof value === 'string' && stripeIdPattern.test(value) && !value.endsWith('\n');

/** An object as Stripe's API returned it: every field under Stripe's name, none interpreted. */
export interface StripeObject {
  readonly id: StripeId;
  readonly [field: string]: unknown;
}

/** The interval of MongoDB's clock in which Stripe computed an answer: `from` when the call was let go, `to` when it was answered. */
export interface Observed {
  readonly from: Date;
  readonly to: Date;
}

/** An answer of Stripe with the interval it was computed in. */
export interface Answer {
  readonly observed: Observed;
  /** `performance.now()` at the answer: what is older than `maxAnswerAgeMs` when it is to be written is read again instead. */
  readonly receivedAtMs: number;
}

/** Small calls go before those of scans. */
export type CallPriority = 'small' | 'scan';

export interface CallOptions {
  readonly priority: CallPriority;
  readonly signal: AbortSignal;
  /** The key is only tried out: who calls tells that Stripe refuses it, so it is not logged. */
  readonly isTrial?: boolean;
}

/** Interval of `created`, in whole unix seconds: `[gte, lt)`. A missing bound is open. */
export interface CreatedRange {
  readonly gte?: number | undefined;
  readonly lt?: number | undefined;
}

export interface ListQuery extends CreatedRange {
  readonly startingAfter?: StripeId | undefined;
  /** 1 to 100. */
  readonly limit: number;
}

export type ListAnswer =
  | (Answer & {
      readonly kind: 'page';
      /** Newest first. An entry that is no object with a valid id is left out and counted in `invalid`. */
      readonly objects: readonly StripeObject[];
      readonly invalid: number;
      readonly hasMore: boolean;
      /** Stripe's own clock (the `Date` header), unix seconds. */
      readonly stripeTime: number;
    })
  /** The object used as cursor is no longer listed (`resource_missing` on `starting_after`). */
  | { readonly kind: 'cursor_gone' };

export type RetrieveAnswer =
  | (Answer & { readonly kind: 'found'; readonly object: StripeObject })
  | (Answer & { readonly kind: 'deleted'; readonly id: StripeId })
  | (Answer & { readonly kind: 'not_in_account'; readonly id: StripeId });

/**
 * One kind of object at Stripe. Every call goes through the rate limiter and is retried inside; what is thrown is a `Fault`:
 * `retryable` (try the request again later), `terminal` or `fatal`. An abort rejects with the signal's reason.
 */
export interface Source {
  readonly object: string;
  readonly livemode: boolean;
  readonly apiVersion: string;
  /** How many calls to `list` are worth having under way now: follows the rate and how long answers take. At least 1. */
  listsAtOnce(): number;
  list(query: ListQuery, options: CallOptions): Promise<ListAnswer>;
  retrieve(id: StripeId, options: CallOptions): Promise<RetrieveAnswer>;
}

/** What tells of a stored object whether it is as it was; read by interval from a covered index, for nearly all of them nothing else is needed. */
export interface ListedHead {
  readonly id: StripeId;
  /** Unix seconds; absent where a partial batch never told it. */
  readonly created: number | undefined;
  /** Absent after a partial merge: the next full read sets the document right. */
  readonly hash: string | undefined;
  readonly deletedBy: DeletedBy | undefined;
}

/** What decides whether a read replaces a stored object. */
export interface Head extends ListedHead {
  readonly observed: Observed | undefined;
}

export type DeletedBy = 'stripe' | 'request';

/** What caused a write; stored as `_sync.source`. */
export type WriteSource = 'list' | 'retrieve' | 'batch' | 'request';

interface WriteBase {
  readonly id: StripeId;
  readonly observed: Observed;
  readonly source: WriteSource;
}

export type MirrorWrite =
  /** The whole object is new to the mirror. */
  | (WriteBase & { readonly kind: 'insert'; readonly object: StripeObject; readonly hash: string })
  /** The whole object replaces one observed before it; `app` and any mark of deletion stay. */
  | (WriteBase & { readonly kind: 'replace'; readonly object: StripeObject; readonly hash: string })
  /** Top-level fields are merged, the hash is dropped; creates what is not there. */
  | (WriteBase & { readonly kind: 'merge'; readonly fields: StripeObject })
  /** Stripe confirmed the deletion: final, whatever was observed when; a tombstone where the mirror has nothing. */
  | (WriteBase & { readonly kind: 'confirm_deleted' })
  /** A request's mark on a document that is there and has no mark. */
  | (WriteBase & { readonly kind: 'mark_deleted' });

export type MirrorWriteResult =
  | { readonly kind: 'written' }
  /** A merge whose every field was as stored. */
  | { readonly kind: 'unchanged' }
  /** The guard did not hold: the document is no longer what the head said. Read the head again and decide anew. */
  | { readonly kind: 'conflict' }
  | {
      readonly kind: 'rejected';
      readonly code: 'document_too_large' | 'write_rejected';
      readonly message: string;
    };

export interface Mirror {
  /** Of the stored objects whose `created` lies in the range, in no particular order, as many at a time as MongoDB sends. */
  heads(range: CreatedRange, signal: AbortSignal): AsyncIterable<readonly ListedHead[]>;
  /** Heads of the given ids; those not stored are absent. */
  headsOf(ids: readonly StripeId[]): Promise<Map<StripeId, Head>>;
  /** Ids of living objects without a usable `created`, which no interval can hold. */
  withoutCreated(signal: AbortSignal): AsyncIterable<StripeId>;
  /**
   * Applies guarded writes, at most one an id. Idempotent: a write whose acknowledgement was lost is found again and counts
   * as written. One result a write, in order.
   * @param beforeSend called right before they are sent: what it throws is thrown, and nothing is written
   */
  write(writes: readonly MirrorWrite[], beforeSend?: () => void): Promise<readonly MirrorWriteResult[]>;
  /** Of the given ids those that a scan may suspect: not confirmed deleted, not of a test clock. */
  suspects(ids: readonly StripeId[]): Promise<readonly StripeId[]>;
  /** How many stored objects are not marked as deleted. */
  countLive(): Promise<number>;
  /** Some ids of the mirror that are alive and were read from Stripe, the newest first; for checking that a key belongs to this mirror. */
  sampleIds(count: number): Promise<readonly StripeId[]>;
  /** Some values of `created`, drawn at random, to see how the account is spread over time. */
  sampleCreated(count: number): Promise<readonly number[]>;
}

/** A clock that all replicas share: MongoDB's. */
export interface SharedClock {
  /** Bounds of MongoDB's time now: the true one lies between. */
  interval(signal?: AbortSignal): Promise<{ readonly earliest: Date; readonly latest: Date }>;
}
