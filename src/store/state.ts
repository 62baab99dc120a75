// The daemon's own collection: account binding, limiter, leases, checkpoints, schedules. Nothing that a user may write is in it.
import type { mongo } from 'mongoose';

export interface StateDocument {
  _id: string;
  [field: string]: unknown;
}

const stateCollection = 'sync_state';

/** The collection `sync_state`. */
export const stateOf = (db: mongo.Db): mongo.Collection<StateDocument> =>
  db.collection<StateDocument>(stateCollection);
