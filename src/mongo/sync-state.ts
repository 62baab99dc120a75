// The database of the mirror with the names of our collections in it, and the collection of the state
// (`sync_state` by default). Only this product writes that one, never its users: the ids of all its
// documents, and the one handle to it.
import type { Connection, mongo } from 'mongoose';
import { Fault } from '../base/errors.js';

/** What our collections are called: the settings `mongodb.collections`. */
export interface CollectionNames {
  /** The mirrored customers. */
  readonly customers: string;
  readonly requests: string;
  readonly state: string;
}

/**
 * The names in config/default.yaml, for those who load no settings: the exported model, and a service that
 * inserts requests.
 */
export const defaultNames: CollectionNames = {
  customers: 'stripe_customers',
  requests: 'sync_requests',
  state: 'sync_state',
};

/** The database of the mirror, and what our collections in it are called. */
export interface OurDatabase {
  readonly db: mongo.Db;
  readonly names: CollectionNames;
}

export interface StateDocument {
  _id: string;
  [field: string]: unknown;
}

/**
 * The `_id` of every document. The file named beside it owns the document, and no other file writes it.
 * `object` is Stripe's name of a kind of object.
 */
export const stateIds = {
  /** The Stripe account and mode of this database: src/mirror/binding-state.ts */
  binding: 'account-binding',
  /** Slots, reductions of the rate and calls of the month: src/rate/budget.ts */
  rateLimiter: 'rate-limiter',
  /** Which replica may scan: src/requests/scan-lease.ts */
  // One lease for the scans of all kinds. The name dates from the time of a single kind, and older replicas
  // know it.
  scanLease: 'scan-lease:customer',
  /** The run and checkpoint of the scan: src/mirror/scan-state.ts, as the next five */
  scan: (object: string) => `scan:${object}`,
  /** When the last complete scan ended. */
  scanCompleted: (object: string) => `scan-completed:${object}`,
  /** How many objects the last scan that ended could not mirror. */
  scanLeftOut: (object: string) => `scan-left-out:${object}`,
  /** Removals that wait for approval. */
  scanHeld: (object: string) => `scan-held:${object}`,
  /** Chunks of the candidates for removal of a scan begin with this. */
  scanCandidates: (object: string, scanId = '') =>
    `scan-candidates:${object}:${scanId === '' ? '' : `${scanId}:`}`,
  /** An id that Stripe does not know in this account. */
  absent: (object: string, id: string) => `absent:${object}:${id}`,
  /** The last slot of a cron schedule: src/schedule/slot-state.ts */
  schedule: (name: string) => `schedule:${name}`,
  /** How far insertions of batches have been stamped, and by whom: src/requests/upkeep/insertion-state.ts */
  insertionOrder: 'insertion-order',
  /** The version of the validator of the requests: src/requests/validator.ts */
  requestsValidator: 'requests-validator',
  /** Which collections are ours: src/ownership.ts */
  ownership: 'ownership',
  /** A replica that runs or ran lately; all begin with this: src/status/replicas.ts */
  replica: (owner = '') => `replica:${owner}`,
} as const;

/**
 * What `bind --reset` does with the documents of each id: what belongs to the former Stripe account is
 * cleared, what belongs to the deployment is kept. A new id has its line here, or nothing compiles.
 */
export const atReset: Readonly<Record<keyof typeof stateIds, 'cleared' | 'kept'>> = {
  binding: 'cleared',
  rateLimiter: 'cleared',
  scanLease: 'kept',
  scan: 'cleared',
  scanCompleted: 'cleared',
  scanLeftOut: 'cleared',
  scanHeld: 'cleared',
  scanCandidates: 'cleared',
  absent: 'cleared',
  schedule: 'kept',
  insertionOrder: 'kept',
  requestsValidator: 'kept',
  ownership: 'kept',
  replica: 'kept',
};

type Id = string | ((...parts: string[]) => string);
const idEntries: readonly (readonly [string, Id])[] = Object.entries(stateIds);

/** All ids of a family begin with the same word and a colon. */
const patternOf = (id: Id): string =>
  typeof id === 'string' ? `^${id}$` : `^${id('', '').split(':', 1)[0]}:`;

/** Matches the documents that a reset clears, of every kind of object. */
export function clearedAtReset(): mongo.Filter<StateDocument> {
  const cleared = idEntries.filter(([name]) => atReset[name as keyof typeof stateIds] === 'cleared');
  return {
    $or: cleared.map(([, id]) => ({ _id: typeof id === 'string' ? id : new RegExp(patternOf(id)) })),
  };
}

/** Matches every `_id` above. */
export const isOurStateId = new RegExp(idEntries.map(([, id]) => patternOf(id)).join('|'));

/**
 * Every acknowledgement and decision relies on these, whatever the connection string says. If the majority
 * does not acknowledge a write in time, that counts as a transient error, because every step can be retried.
 */
export const durable = {
  writeConcern: { w: 'majority', wtimeoutMS: 10_000 },
  readPreference: 'primary',
} as const;

/**
 * The driver's own database: mongoose's collections would queue commands while MongoDB is unavailable. Unlike
 * connection.ts, this file does not load the driver, because the help of the command line runs without it.
 * @throws Fault if the connection was never opened
 */
export function databaseOf(connection: Connection): mongo.Db {
  if (connection.db) return connection.db;
  throw new Fault('mongodb_unavailable', 'The connection to MongoDB is not open');
}

/** The collection of the state. */
export const stateOf = ({ db, names }: OurDatabase): mongo.Collection<StateDocument> =>
  db.collection<StateDocument>(names.state, durable);
