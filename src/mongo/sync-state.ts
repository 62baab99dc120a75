// The collection `sync_state`, the daemon's own: every document that is in it, and the one handle by which all parts read and write it.
// Nothing that a user may write is in it.
import type { Connection, mongo } from 'mongoose';
import { Fault } from '../base/errors.js';

export const stateCollectionName = 'sync_state';

export interface StateDocument {
  _id: string;
  [field: string]: unknown;
}

/** Every document by its `_id`, with the file that owns it: nobody else writes it. `object` is Stripe's name of a kind of object. */
export const stateIds = {
  /** The Stripe account and mode of this database: src/mirror/binding-state.ts */
  binding: 'account-binding',
  /** Slots, cuts of the rate and calls of the month: src/rate/budget.ts */
  rateLimiter: 'rate-limiter',
  /** Which replica may scan: src/requests/scan-lease.ts */
  scanLease: (object: string) => `scan-lease:${object}`,
  /** The run and checkpoint of the scan: src/mirror/scan-state.ts, as the next four */
  scan: (object: string) => `scan:${object}`,
  /** When the last complete scan ended. */
  scanCompleted: (object: string) => `scan-completed:${object}`,
  /** Removals that wait for approval. */
  scanHeld: (object: string) => `scan-held:${object}`,
  /** Candidates for removal of one scan, in chunks; all of them begin so. */
  scanCandidates: (object: string, scanId = '') =>
    `scan-candidates:${object}:${scanId === '' ? '' : `${scanId}:`}`,
  /** An id that Stripe does not know in this account. */
  absent: (object: string, id: string) => `absent:${object}:${id}`,
  /** The last slot of a cron schedule: src/schedule/slot-state.ts */
  schedule: (name: string) => `schedule:${name}`,
  /** The version of the validator on sync_requests: src/requests/validator.ts */
  requestsValidator: 'requests-validator',
  /** A replica that is there, or was lately; all of them begin so: src/status/replicas.ts */
  replica: (owner = '') => `replica:${owner}`,
} as const;

/**
 * What every acknowledgement and every decision rests on, whatever the connection string or an application's own connection says. A write
 * that the majority does not acknowledge in time counts as a transient fault: every step can be repeated.
 */
export const durable = {
  writeConcern: { w: 'majority', wtimeoutMS: 10_000 },
  readPreference: 'primary',
} as const;

/**
 * The driver's own database: mongoose's collections would queue commands while MongoDB is away. This file, unlike
 * connection.ts, does not load the driver: the help of the command line does without it.
 * @throws Fault where the connection was never opened
 */
export function databaseOf(connection: Connection): mongo.Db {
  if (connection.db) return connection.db;
  throw new Fault('mongodb_unavailable', 'The connection to MongoDB is not open');
}

/** The collection `sync_state`. */
export const stateOf = (db: mongo.Db): mongo.Collection<StateDocument> =>
  db.collection<StateDocument>(stateCollectionName, durable);
