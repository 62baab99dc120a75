// What all parts that speak to MongoDB need of it: its handle, and the name of the daemon's own collection.
import type { Connection, mongo } from 'mongoose';
import { Fault } from './errors.js';

/** The daemon's own collection: account binding, limiter, leases, checkpoints, schedules. Users have no business in it. */
export const stateCollectionName = 'sync_state';

/** The driver's own database: mongoose's collections would queue commands while MongoDB is away. @throws Fault where it was never opened */
export function databaseOf(connection: Connection): mongo.Db {
  if (connection.db) return connection.db;
  throw new Fault('mongodb_unavailable', 'The connection to MongoDB is not open', { kind: 'retryable' });
}
