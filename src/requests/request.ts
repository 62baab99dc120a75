// The stored shape of a request (a document in sync_requests by default), and the limits of the fields that
// users write. Types and numbers only.
import type { mongo } from 'mongoose';
import type { ErrorReport } from '../base/errors.js';
import { durable, type OurDatabase } from '../mongo/sync-state.js';
import type { SyncResult } from '../sync/outcome.js';

/** Every status a request can have. A document without one is pending. */
export const requestStatuses = [
  'pending',
  'running',
  'succeeded',
  'partial',
  'failed',
  'cancelled',
  'coalesced',
] as const;
export type RequestStatus = (typeof requestStatuses)[number];

/** A final status. Only a user's `{ $set: { status: 'pending' } }` ends it. */
export type EndStatus = Exclude<RequestStatus, 'pending' | 'running'>;
export const endStatuses = requestStatuses.filter(
  (status): status is EndStatus => status !== 'pending' && status !== 'running',
);

export const isEndStatus = (status: unknown): status is EndStatus =>
  endStatuses.some((end) => end === status);

/**
 * Statuses in which a request holds its `dedupeKey`, as stored. Only a search for exactly these uses the
 * index.
 */
export const keyHolders = [null, 'pending', 'running', 'succeeded', 'partial', 'coalesced'] as const;

/**
 * The schedule's value of `requestedBy`. See `retention` in expressions.ts for the little that relies on it.
 */
export const requestedByCron = 'cron';

/** Most ids or entries of one request. */
export const maxEntries = 1_000;
/** Most bytes of BSON that a batch may have (4 MiB). */
export const maxBatchBytes = 4 * 1024 * 1024;
/** Attempts that a request may ask for. */
export const maxAttemptsLimit = 100;
/** Longest free text or key, in characters. */
export const maxTextLength = 256;
/** How long a command that no running daemon knows stays pending: another version may be on its way. */
export const unknownCommandWaitMs = 600_000;
/** Attempts that `history` remembers. */
export const historyLength = 10;

/** Users may choose an `_id` of another type. It is passed on unchanged, and its methods are never called. */
export type RequestId = mongo.ObjectId;

/**
 * The current or last holder of a request. `fence` only grows: a holder that was presumed dead finds a higher
 * one and writes nothing.
 */
interface Lease {
  readonly owner: string;
  readonly fence: number;
  /** By MongoDB's clock; absent while nobody works on it. */
  readonly expiresAt?: Date;
}

/**
 * The change event of an insertion: its resume token, which sorts in the order of the insertions, and its
 * time. `before`: it was inserted before that time, and no event tells more. `seal` proves that a daemon
 * wrote it.
 */
interface StoredInsertion {
  readonly token?: string;
  readonly at?: Date;
  readonly before?: Date;
  readonly seal: string;
}

/** An attempt that has ended. */
interface HistoryEntry {
  readonly attempt: number;
  readonly startedAt: Date;
  readonly finishedAt: Date;
  readonly owner: string;
  readonly error?: ErrorReport;
}

/** How far a running request is; written at most once a second. */
export interface StoredProgress {
  readonly done: number;
  readonly estimated?: number;
  /** 0 to 1. */
  readonly ratio?: number;
  /** Objects a second, lately. */
  readonly perSecond?: number;
  readonly etaSeconds?: number;
  readonly updatedAt: Date;
}

/**
 * Why a request ended as `failed`. `faults` has one sentence for each fault of a request that does not parse.
 */
export interface StoredError extends ErrorReport {
  readonly faults?: readonly string[];
  /** The error of the last attempt, if the attempts were used up. */
  readonly cause?: ErrorReport;
}

/** The fields that the daemon writes. It trusts none of them if they come from elsewhere. */
interface DaemonFields {
  readonly status?: RequestStatus;
  /** Attempts begun, the running one included. */
  readonly attempts?: number;
  /** The last ten attempts that have ended, oldest first. */
  readonly history?: readonly HistoryEntry[];
  readonly lease?: Lease;
  readonly progress?: StoredProgress;
  readonly result?: SyncResult;
  readonly error?: StoredError;
  /** The scan that runs for this one, while it does. */
  readonly waitsFor?: RequestId;
  /** The scan that ran for this one, whose result this is. */
  readonly coalescedInto?: RequestId;
  /** When a daemon that does not know its command first saw it waiting. */
  readonly unknownSince?: Date;
  /** Of a batch: where its insertion stands among all others. */
  readonly inserted?: StoredInsertion;
  readonly createdAt?: Date;
  readonly startedAt?: Date;
  readonly finishedAt?: Date;
  /** When MongoDB removes it. */
  readonly expireAt?: Date;
}

/** What a user may write on any request beside the command. */
export interface RequestOptions {
  /** Kind of Stripe object, as in its field `object`; `customer` unless given. */
  readonly object?: string | null;
  /** The request does not run before this time, by MongoDB's clock. */
  readonly runAt?: Date | null;
  /** At most one request with the same key is pending, running or kept after success. */
  readonly dedupeKey?: string | null;
  readonly maxAttempts?: number | null;
  /** The full result, nothing written to the mirror. */
  readonly dryRun?: boolean | null;
  /** Free text. */
  readonly requestedBy?: string | null;
  /** True ends it: a pending one at once, a running one at its next checkpoint. */
  readonly cancel?: boolean | null;
}

/** A customer that the caller holds: the SDK's own type fits, and so does an object with any fields. */
type HeldCustomer =
  (object & { readonly id: string }) | { readonly id: string; readonly [field: string]: unknown };

/** The command of a request as a user writes it. */
export type CommandInput =
  | { readonly command: 'syncAll' }
  | { readonly command: 'syncByIds'; readonly ids: readonly string[] }
  | {
      readonly command: 'syncBatch';
      /** Customers as Stripe's API returns them, complete or partial. */
      readonly batch: readonly HeldCustomer[];
      /** When the batch was read from Stripe, if earlier than the insertion of the request. */
      readonly observedAt?: Date | null;
    }
  | { readonly command: 'softDelete'; readonly stripeId: string }
  /** Retrieves and marks the candidates for removal that this scan has held. */
  | { readonly command: 'approveRemovals'; readonly request: mongo.ObjectId | string };

export type RequestInput = CommandInput & RequestOptions;

/** A stored request. A batch that succeeded is replaced by its ids. */
export type SyncRequestDocument = { readonly _id: RequestId } & RequestOptions &
  DaemonFields & {
    readonly command: string;
    readonly ids?: readonly string[];
    readonly batch?: readonly (string | (object & { readonly id: string }))[];
    readonly stripeId?: string;
    readonly observedAt?: Date | null;
  };

/** An untrusted request: anybody may have written it. */
export type StoredRequest = mongo.BSON.Document & { _id: mongo.ObjectId };

export const requestsOf = ({ db, names }: OurDatabase): mongo.Collection<StoredRequest> =>
  db.collection<StoredRequest>(names.requests, durable);

export type RequestCollection = mongo.Collection<SyncRequestDocument>;

/** As a user of the queue sees it. */
export const typedRequestsOf = ({ db, names }: OurDatabase): RequestCollection =>
  db.collection<SyncRequestDocument>(names.requests, durable);
