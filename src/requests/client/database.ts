// As much of the driver as users of the queue must bring: their own `mongodb` may be another version than
// ours, so nothing is asked for but shape.
import type { FollowedStream } from '../../mongo/change-stream.js';

/** A `Db` of the `mongodb` driver, or `connection.db` of mongoose. */
export interface RequestsDatabase {
  readonly databaseName: string;
  /** Databases of one client share what waits for requests to end. */
  readonly client?: RequestsClient;
  collection(name: string): RequestsCollection;
}

export interface RequestsClient {
  on(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
}

export interface RequestsCollection {
  insertOne(document: object, options?: object): Promise<{ readonly insertedId: unknown }>;
  find(filter: object, options?: object): { toArray(): Promise<readonly object[]> };
  watch(pipeline?: object[], options?: object): FollowedStream;
}
