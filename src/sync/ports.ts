// The ports of the sync: a source to read (Stripe), a mirror to write (MongoDB), and a clock that replicas
// share. Adapters implement them; nothing here knows stripe, mongoose or prom-client. test/conformance
// specifies the behaviour of an implementation.
import { hash } from 'node:crypto';

import type { Telling, ToldFields } from './telling.js';

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
  /**
   * MongoDB's clock has said this time before: it was set back since. What was told then seems later, and may
   * be earlier. Not stored.
   */
  readonly isRepeated?: boolean | undefined;
}

/** An answer of Stripe with the interval it was computed in. */
export interface Answer {
  readonly observed: Observed;
  /**
   * `performance.now()` at the answer; `-Infinity` if MongoDB's clock moved meanwhile. Data older than
   * `maxAnswerAgeMs` is read again instead of written.
   */
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
  /** The objects of this test clock, none if it is gone; without it those of no clock. */
  readonly testClock?: string | undefined;
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

export type ClocksAnswer =
  | (Answer & {
      readonly kind: 'page';
      /** Ids, newest first. */
      readonly clocks: readonly string[];
      readonly hasMore: boolean;
      /** Stripe's own clock (the `Date` header), unix seconds. */
      readonly stripeTime: number;
    })
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
  /**
   * The account's test clocks (https://docs.stripe.com/api/test_clocks/list); `list` gives those of one.
   * Undefined where objects of this kind have none, and in live mode.
   */
  readonly testClocks:
    | ((
        query: Pick<ListQuery, 'limit'> & { readonly startingAfter?: string | undefined },
        options: CallOptions,
      ) => Promise<ClocksAnswer>)
    | undefined;
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

/** The fields that decide whether something told replaces a stored object. */
export interface Head extends ListedHead {
  /** Name of the last write; undefined after a write of an earlier version. */
  readonly writeId: string | undefined;
  /** MongoDB's clock at the last write. */
  readonly writtenAt: Date | undefined;
  /** When the whole object was last told; undefined while only parts of it were. */
  readonly observed: Telling | undefined;
  /** The fields that parts have told since. */
  readonly told: readonly ToldFields[];
  /** MongoDB's clock when it was read; undefined if it is not known. */
  readonly seenAt?: Date | undefined;
}

/** A stored object with all its fields. */
export interface Stored {
  readonly head: Head;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** `stripe`: confirmed by Stripe, which is final. `request`: a request marked it. */
type DeletedBy = 'stripe' | 'request';

/** What caused a write; stored as `_sync.source`. */
export type WriteSource = 'list' | 'retrieve' | 'batch' | 'request';

interface WriteBase {
  readonly id: StripeId;
  /** Names this write alone: a stored object that carries it has been written by it. */
  readonly writeId: string;
  /**
   * What the decision was made on; undefined if nothing was stored. The write is applied only if that is
   * still what is stored.
   */
  readonly basis: Head | undefined;
  readonly source: WriteSource;
}

/** A write with its guard, `basis`. `app` and a mark of deletion stay, whatever is written. */
export type MirrorWrite =
  /** Stores a whole object, in place of all fields. Fields that parts told later are among them. */
  | (WriteBase & {
      readonly kind: 'put';
      readonly object: StripeObject;
      /** Undefined where `told` is not empty: then the object as a whole was never told. */
      readonly hash: string | undefined;
      readonly observed: Telling;
      readonly told: readonly ToldFields[];
      /** A conflict from then on, on the clock of `Head.seenAt`: a write may wait on its way. */
      readonly notAfter?: Date | undefined;
    })
  /** Sets top-level fields. */
  | (WriteBase & {
      readonly kind: 'merge';
      readonly fields: StripeObject;
      /** All fields that parts have told since the whole object was. */
      readonly told: readonly ToldFields[];
      /** The fields are stored already, so the hash stays. */
      readonly keepsHash: boolean;
    })
  /**
   * Stores Stripe's confirmation that the object is deleted; the known fields stay. If nothing is stored, it
   * leaves a tombstone: `id`, `object` and `deleted: true`.
   */
  | (WriteBase & { readonly kind: 'confirm_deleted'; readonly observed: Observed })
  /** A request's mark; fields and their times stay. */
  | (WriteBase & { readonly kind: 'mark_deleted'; readonly basis: Head });

export type MirrorWriteResult =
  /** Applied, now or before, and nothing was written since. */
  | { readonly kind: 'written' }
  /** Something else is stored than the decision was made on. Read the head again and decide again. */
  | { readonly kind: 'conflict' }
  /**
   * The store cannot hold this object, because it exceeds 16 MB, has a key with a NUL character, or violates
   * a rule of the store. Nothing is stored.
   */
  | Rejected;

export interface Rejected {
  readonly kind: 'rejected';
  readonly code: 'document_too_large' | 'unstorable_key' | 'write_rejected';
  readonly message: string;
}

/**
 * What cannot change about an object at Stripe. A copy in another account has the same id, not the same
 * `created`.
 */
export interface Sample {
  readonly id: StripeId;
  /** Unix seconds. */
  readonly created: number;
}

export interface ProofSamples {
  /** Nothing is stored, not even a deleted object. */
  readonly isEmpty: boolean;
  /** Last written by a read of Stripe. */
  readonly read: readonly Sample[];
  /** Last written by a batch, which may have told anything. */
  readonly told: readonly Sample[];
}

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
  /** The given objects with all fields, for few ids at once; those not stored are absent. */
  storedOf(ids: readonly StripeId[]): Promise<Map<StripeId, Stored>>;
  /** Why the store cannot hold an object, by size and keys alone: known without a write. */
  refusalOf(object: StripeObject): Rejected | undefined;
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
   * The given ids that a scan may suspect: stored, deletion not confirmed, and not of a test clock unless it
   * lists these, too; in any order.
   */
  suspects(
    ids: readonly StripeId[],
    options?: { readonly ofTestClocks: boolean },
  ): Promise<readonly StripeId[]>;
  /** Number of stored objects without a mark of deletion. Very recent writes may be missing. */
  countLive(): Promise<number>;
  /**
   * Objects that can prove whether a key belongs to this mirror: those with a `created` whose deletion Stripe
   * has not confirmed. At most `count` (1 or more) of each group, the newest and the oldest in turn. Of a
   * very large mirror, only its ends are looked at.
   * @param after only objects whose last applied write was observed after it
   */
  samples(count: number, after?: Date): Promise<ProofSamples>;
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
