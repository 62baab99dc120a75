// The two collections that requests live by, with the write concern that every acknowledgement here stands for.
import type { Connection, mongo } from 'mongoose';
import { databaseOf, stateCollectionName } from '../mongo-database.js';
import { requestsCollectionName, type SyncRequestDocument } from './document.js';

/** A write that the majority does not acknowledge in time counts as a passing fault; every step here can be repeated. */
const durable = { writeConcern: { w: 'majority', wtimeoutMS: 10_000 }, readPreference: 'primary' } as const;

/** A document of sync_requests as it may be: written by anybody. */
export type StoredRequest = mongo.BSON.Document & { _id: mongo.ObjectId };

/** A document of sync_state. */
export type StateDocument = mongo.BSON.Document & { _id: string };

/** @throws Fault where the connection was never opened */
export const requestsOf = (connection: Connection): mongo.Collection<StoredRequest> =>
  databaseOf(connection).collection<StoredRequest>(requestsCollectionName, durable);

/** As a user of the queue sees it. */
export const typedRequestsOf = (connection: Connection): mongo.Collection<SyncRequestDocument> =>
  databaseOf(connection).collection<SyncRequestDocument>(requestsCollectionName, durable);

/** @throws Fault where the connection was never opened */
export const stateOf = (connection: Connection): mongo.Collection<StateDocument> =>
  databaseOf(connection).collection<StateDocument>(stateCollectionName, durable);
