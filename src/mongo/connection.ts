// The connection to MongoDB: options that notice a lost primary within seconds, and a start that waits for
// the server.
import type mongoose from 'mongoose';
import { Fault } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { pause, withDeadline } from '../base/waiting.js';
import { mendClosingSockets } from './closing-sockets.js';
import { toMongoFault } from './faults.js';
import { databaseOf } from './sync-state.js';

export interface ConnectOptions {
  /** Connection string; never logged. */
  readonly uri: string;
  /** Empty: the database that the connection string names, otherwise `stripe`. */
  readonly database: string;
  readonly connectDeadlineMs: number;
  /** Shown by MongoDB in its logs and in currentOp, unless the connection string names another. */
  readonly appName: string;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** With the driver's defaults a frozen primary is abandoned after 31 s, with these after about 7 s. */
const driverOptions = {
  connectTimeoutMS: 2_000,
  heartbeatFrequencyMS: 1_000,
  serverSelectionTimeoutMS: 5_000,
  socketTimeoutMS: 30_000,
  maxPoolSize: 50,
  writeConcern: { w: 'majority' },
  retryWrites: true,
  retryReads: true,
  // Mongoose must not buffer commands while the connection is lost, nor create indexes.
  bufferCommands: false,
  autoIndex: false,
  autoCreate: false,
} as const satisfies mongoose.ConnectOptions;

/**
 * Opens the given connection, with retries until the deadline.
 * @throws Fault `mongodb_unavailable` (fatal) at the deadline, `mongodb_rejected` (fatal) at once if waiting
 *   cannot help (authentication, a malformed connection string); the signal's reason on abort
 */
export async function openConnection(
  connection: mongoose.Connection,
  options: ConnectOptions,
): Promise<void> {
  mendClosingSockets();
  const { uri, connectDeadlineMs, appName, logger, signal } = options;
  const dbName = databaseName(options);
  const deadline = performance.now() + connectDeadlineMs;
  for (let attempt = 1; ; attempt += 1) {
    signal.throwIfAborted();
    const leftMs = Math.max(500, deadline - performance.now());
    const selectionMs = Math.min(driverOptions.serverSelectionTimeoutMS, leftMs);
    try {
      await connection.openUri(uri, {
        ...driverOptions,
        serverSelectionTimeoutMS: selectionMs,
        dbName,
        ...(!/[?&]appName=/i.test(uri) && { appName }),
      });
      return;
    } catch (error) {
      await connection.close(true).catch(() => undefined); // the next attempt starts afresh
      const fault = toMongoFault(error, 'connecting; see MONGODB_URI');
      if (fault.code !== 'mongodb_unavailable' || performance.now() >= deadline) {
        const late = fault.code === 'mongodb_unavailable' ? `, given up after ${connectDeadlineMs} ms` : '';
        throw new Fault(fault.code, `${fault.message}${late}`, { kind: 'fatal', cause: error });
      }
      logger.warn(
        { attempt, givingUpInMs: Math.round(deadline - performance.now()) },
        'MongoDB is unreachable; retrying',
      );
      await pause(Math.min(1_000, leftMs), signal);
    }
  }
}

/** The setting, else the database in the connection string, else `stripe`. */
function databaseName({ uri, database }: { uri: string; database: string }): string {
  if (database !== '') return database;
  const path = /^mongodb(?:\+srv)?:\/\/[^/]+\/([^?]+)/.exec(uri)?.[1];
  return path === undefined ? 'stripe' : decodeURIComponent(path);
}

/** True if the server answers within the time. */
export async function ping(connection: mongoose.Connection, timeoutMs: number): Promise<boolean> {
  const answered = databaseOf(connection)
    .command({ ping: 1 })
    .then(
      () => true,
      () => false,
    );
  return withDeadline(
    timeoutMs,
    () => answered,
    () => false,
  );
}
