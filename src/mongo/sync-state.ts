// The daemon's own collection: account binding, limiter, leases, checkpoints, schedules. Nothing that a user may write is in it.
import type { mongo } from 'mongoose';
import { stateCollectionName } from './connection.js';

export interface StateDocument {
  _id: string;
  [field: string]: unknown;
}

/** What every acknowledgement and every decision rests on, whatever the connection string or an application's own connection says. */
export const durable = { writeConcern: { w: 'majority' }, readPreference: 'primary' } as const;

/** The collection `sync_state`. */
export const stateOf = (db: mongo.Db): mongo.Collection<StateDocument> =>
  db.collection<StateDocument>(stateCollectionName, durable);
