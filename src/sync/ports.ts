// The ports of the sync: a source to read (Stripe), a mirror to write (MongoDB), and a clock that replicas
// share. Adapters implement them; nothing here knows stripe, mongoose or prom-client. test/conformance
// specifies the behaviour of an implementation.
import { hash } from 'node:crypto';

/** Id of an object at Stripe, checked by `isStripeId`. May be an email address: personal data. */
export type StripeId = string & { readonly __brand: 'StripeId' };

/**
 * The form of an id, for every dialect of regular expressions that knows code points. Since 2018-05-21 Stripe
 * takes only letters, digits, `_` and `-` where a caller chooses an id; before, and by older API versions,
 * anything was allowed: email addresses, `user:42`, `a/b`, spaces, umlauts
 * (https://docs.stripe.com/changelog/2018-05-21/valid-characters-ids-coupons-skus-customers-products-plans).
 * Stripe promises at most 255 characters (https://docs.stripe.com/upgrades).
 */
// eslint-disable-next-line no-control-regex -- NUL is what it is about
export const stripeIdPattern = /^[^\x00]{1,255}$/u;

/** As above, without lone surrogates: neither a URL nor BSON can carry one. */
// eslint-disable-next-line no-control-regex -- as above
const wellFormedId = /^[^\x00\ud800-\udfff]{1,255}$/u;

export const isStripeId = (value: unknown): value is StripeId =>
  typeof value === 'string' && wellFormedId.test(value);

/** What an id must be, as faults say it. */
export const stripeIdText = 'an id such as cus_123 (1 to 255 characters, none of them NUL)';

/**
 * Whether a URL can name the object, where every character is percent-encoded that may be. URLs resolve `.`
 * and `..` (https://url.spec.whatwg.org/#dot-path-segment, `%2e` too). `search` is an endpoint of its own.
 */
export const hasUrl = (id: StripeId): boolean => !['.', '..', 'search'].includes(id);

/** An id that Stripe has made up: a prefix, then letters and digits, with a digit among them. */
const madeUpByStripe = /^[a-z]+_(?=[A-Za-z]*\d)[A-Za-z0-9]+$/;

/**
 * An id for messages and logs. One that somebody has chosen may be personal data, so its hash stands for it:
 * `sha256:` and 16 hex digits. docs/operations.md says how to find the object.
 */
export const loggedId = (id: string): string =>
  madeUpByStripe.test(id) ? id : `sha256:${hash('sha256', id, 'hex').slice(0, 16)}`;

/** An object as Stripe's API returned it: every field under Stripe's name, uninterpreted. */
export interface StripeObject {
  readonly id: StripeId;
  readonly [field: string]: unknown;
}

/** The interval of MongoDB's clock in which Stripe computed an answer: sent at `from`, answered at `to`. */
export interface Observed {
  readonly from: Date;
  readonly to: Date;
}

/** An answer of Stripe with the interval it was computed in. */
export interface Answer {
  readonly observed: Observed;
  /** `performance.now()` at the answer. Data older than `maxAnswerAgeMs` is read again instead of written. */
  readonly receivedAtMs: number;
}

/** Small calls take precedence over those of scans. */
export type CallPriority = 'small' | 'scan';

export interface CallOptions {
  readonly priority: CallPriority;
  readonly signal: AbortSignal;
  /** The key is on trial: the caller reports a refusal, so it is not logged here. */
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

/** An entry of a page that cannot be mirrored. */
export interface InvalidEntry {
  /** 1 for the first of the page. */
  readonly place: number;
  /** As listed, if it is a text. */
  readonly id: string | undefined;
}

export type ListAnswer =
  | (Answer & {
      readonly kind: 'page';
      /** Newest first. */
      readonly objects: readonly StripeObject[];
      /** Entries that are no object of this kind, or have no usable id; they are not in `objects`. */
      readonly invalid: readonly InvalidEntry[];
      readonly hasMore: boolean;
      /** Stripe's own clock (the `Date` header), unix seconds. */
      readonly stripeTime: number;
    })
  /** The cursor is no longer listed (`resource_missing` on `starting_after`). */
  | { readonly kind: 'cursor_gone' };

export type RetrieveAnswer =
  | (Answer & { readonly kind: 'found'; readonly object: StripeObject })
  | (Answer & { readonly kind: 'deleted'; readonly id: StripeId })
  | (Answer & { readonly kind: 'not_in_account'; readonly id: StripeId })
  /** No URL can name it (see `hasUrl`): Stripe was not called. */
  | { readonly kind: 'no_url'; readonly id: StripeId };

/**
 * One kind of object at Stripe. Every call goes through the rate limiter and is retried inside. Errors are
 * Faults: `retryable` (try the request again later), `terminal` or `fatal`. An abort rejects with the
 * signal's reason.
 */
export interface Source {
  readonly object: string;
  readonly livemode: boolean;
  readonly apiVersion: string;
  /** How many calls to `list` to have in flight now, at least 1. Follows the rate and the latency. */
  listsAtOnce(): number;
  list(query: ListQuery, options: CallOptions): Promise<ListAnswer>;
  retrieve(id: StripeId, options: CallOptions): Promise<RetrieveAnswer>;
}

/** The fields that show whether a stored object is unchanged; read by interval from a covered index. */
export interface ListedHead {
  readonly id: StripeId;
  /** Unix seconds; undefined if it is unknown or not a number. */
  readonly created: number | undefined;
  /** Undefined after a merge: the next full read sets it. */
  readonly hash: string | undefined;
  /** Who marked the object as deleted; undefined while it is alive. */
  readonly deletedBy: DeletedBy | undefined;
}

/** The fields that decide whether a read replaces a stored object. */
export interface Head extends ListedHead {
  /** Interval of the last applied write, except for marks of requests. */
  readonly observed: Observed | undefined;
}

/** `stripe`: confirmed by Stripe, which is final. `request`: a request marked it. */
export type DeletedBy = 'stripe' | 'request';

/** What caused a write; stored as `_sync.source`. */
export type WriteSource = 'list' | 'retrieve' | 'batch' | 'request';

interface WriteBase {
  readonly id: StripeId;
  readonly observed: Observed;
  readonly source: WriteSource;
}

/**
 * A write with its guard. An object counts as *observed before* a write if its `to` is not after the write's
 * `from`. Only `confirm_deleted` is applied to an object whose deletion Stripe has confirmed, and there it
 * changes nothing.
 */
export type MirrorWrite =
  /** Stores a whole object. Guard: nothing is stored under the id. */
  | (WriteBase & { readonly kind: 'insert'; readonly object: StripeObject; readonly hash: string })
  /** Replaces all fields; `app` and a request's mark stay. Guard: stored, and observed before. */
  | (WriteBase & { readonly kind: 'replace'; readonly object: StripeObject; readonly hash: string })
  /**
   * Sets top-level fields and drops the hash; a request's mark stays. Guard: not stored, or observed before.
   * A merge is true at one moment: `from` equals `to`.
   */
  | (WriteBase & { readonly kind: 'merge'; readonly fields: StripeObject })
  /**
   * Stores Stripe's confirmation that the object is deleted. Applied whatever the order of reads; the known
   * fields stay. If nothing is stored, it leaves a tombstone: `id`, `object` and `deleted: true`.
   */
  | (WriteBase & { readonly kind: 'confirm_deleted' })
  /** A request's mark; the stored interval stays. Guard: stored, without a mark. */
  | (WriteBase & { readonly kind: 'mark_deleted' });

export type MirrorWriteResult =
  /** Applied, now or before: the stored object has the interval of the write (and its hash), or the mark. */
  | { readonly kind: 'written' }
  /** A merge that changed no field: hash and interval stay, too. */
  | { readonly kind: 'unchanged' }
  /**
   * The guard did not hold, or another write has replaced this one since. Read the head again and decide
   * again.
   */
  | { readonly kind: 'conflict' }
  /**
   * The store cannot hold this object, because it exceeds 16 MB, has a key with a NUL character, or violates
   * a rule of the store. Nothing is stored.
   */
  | {
      readonly kind: 'rejected';
      readonly code: 'document_too_large' | 'unstorable_key' | 'write_rejected';
      readonly message: string;
    };

/**
 * The mirrored objects of one kind. Errors are Faults: `mongodb_unavailable` (retryable) or
 * `mongodb_rejected`. Once a method has resolved, its result holds on every replica.
 */
export interface Mirror {
  /**
   * Heads of the stored objects whose `created` lies in the range, deleted ones included, in any order and in
   * batches of one or more. What is written meanwhile may be missed. An abort throws the signal's reason.
   */
  heads(range: CreatedRange, signal: AbortSignal): AsyncIterable<readonly ListedHead[]>;
  /** Heads of the given ids; those not stored are absent. */
  headsOf(ids: readonly StripeId[]): Promise<Map<StripeId, Head>>;
  /**
   * Ids of objects without a usable `created`, which no range contains, unless Stripe has confirmed their
   * deletion.
   */
  withoutCreated(signal: AbortSignal): AsyncIterable<StripeId>;
  /**
   * Applies guarded writes, at most one per id. Each write is atomic, several are not. Idempotent: a write
   * whose acknowledgement was lost can be sent again and counts as written. Returns one result per write, in
   * order.
   * @param beforeSend called right before the writes are sent: what it throws is thrown, and nothing is
   *   written
   */
  write(writes: readonly MirrorWrite[], beforeSend?: () => void): Promise<readonly MirrorWriteResult[]>;
  /**
   * The given ids that a scan may suspect: stored, deletion not confirmed, not of a test clock; in any order.
   */
  suspects(ids: readonly StripeId[]): Promise<readonly StripeId[]>;
  /** Number of stored objects without a mark of deletion. Very recent writes may be missing. */
  countLive(): Promise<number>;
  /**
   * At most `count` (1 or more) ids of living objects that were last written by a read of Stripe, the newest
   * `created` first: proof that a key belongs to this mirror.
   */
  sampleIds(count: number): Promise<readonly StripeId[]>;
  /**
   * At most `count` values of `created`, of random objects, deleted ones included: they show how the account
   * is spread over time.
   */
  sampleCreated(count: number): Promise<readonly number[]>;
}

/** A clock that all replicas share: MongoDB's. */
export interface SharedClock {
  /** Bounds of MongoDB's time now: the true one lies between. */
  interval(signal?: AbortSignal): Promise<{ readonly earliest: Date; readonly latest: Date }>;
}
