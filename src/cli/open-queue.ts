// Opens the queue for a command: MongoDB alone to insert and to follow; for `--in-process` everything that works on a request too.
import mongoose from 'mongoose';
import { databaseOf } from '../mongo-database.js';
import { typedRequestsOf } from '../requests/collection.js';
import { openConnection } from '../store/connection.js';
import { serviceName } from '../version.js';
import type { RequestCollection } from './follow.js';
import type { RequestWork } from './open-worker.js';
import { loadSettings, type CommandSettings } from './settings.js';
import type { Terminal } from './terminal.js';

/** Without `isInProcess` its `work` does nothing: that is a daemon's. */
export interface Queue extends RequestWork {
  readonly requests: RequestCollection;
  readonly db: mongoose.mongo.Db;
  /** Name of the database. */
  readonly database: string;
  /** How long MongoDB may stay away before it is given up, in milliseconds. */
  readonly patienceMs: number;
  /** Whether this process itself works on requests. */
  readonly isInProcess: boolean;
}

export interface OpenQueueOptions {
  readonly isInProcess: boolean;
  readonly signal: AbortSignal;
}

/** @throws ConfigFault, and a fatal Fault that says what to do where MongoDB or Stripe cannot be used; the signal's reason on abort */
export async function openQueue(
  terminal: Terminal,
  { isInProcess, signal }: OpenQueueOptions,
): Promise<Queue> {
  const settings = loadSettings(isInProcess ? ['stripe.apiKey', 'mongodb.uri'] : ['mongodb.uri'], terminal);
  const { connection } = mongoose;
  const work = isInProcess
    ? await openHere(settings, connection, signal)
    : await openAlone(settings, connection, signal);
  const requests = typedRequestsOf(connection);
  const patienceMs = settings.config.mongodb.connectDeadlineMs;
  const db = databaseOf(connection);
  return { ...work, requests, db, database: requests.dbName, patienceMs, isInProcess };
}

type Open = (
  settings: CommandSettings,
  connection: mongoose.Connection,
  signal: AbortSignal,
) => Promise<RequestWork>;

const openHere: Open = async (settings, connection, signal) => {
  // Stripe's SDK takes its time to load.
  const { openWorker } = await import('./open-worker.js');
  return openWorker(settings, connection, signal);
};

const openAlone: Open = async ({ config, logger }, connection, signal) => {
  await openConnection(connection, { ...config.mongodb, appName: serviceName, logger, signal });
  return { work: async () => undefined, close: () => connection.close(true) };
};
