// The configuration as the daemon and as commands read it. Of a command only what it needs is required, and its log is quiet and on stderr.
import mongoose, { type mongo } from 'mongoose';
import { createLogger, type Logger } from '../base/logger.js';
import { serviceName } from '../base/version.js';
import { loadConfig, type LoadedConfig, type SettingPath } from '../config/load.js';
import { mongoTime } from '../mongo/clock.js';
import { databaseOf, openConnection } from '../mongo/connection.js';
import { persistently } from '../mongo/faults.js';
import { type RequestCollection, typedRequestsOf } from '../requests/request.js';
import { validateSchedule } from '../schedule/slots.js';
import { type ExitCode, interruptibly } from './faults.js';
import type { RequestWork } from './in-process.js';
import type { Terminal } from './screen/terminal.js';

export interface CommandSettings extends LoadedConfig {
  readonly logger: Logger;
  /** For work on requests, whose ends the command tells itself. */
  readonly workLogger: Logger;
}

/** What `run` uses and `check-config` judges. @throws ConfigFault that names every fault */
export const loadDaemonSettings = (): LoadedConfig =>
  loadConfig({
    requires: ['stripe.apiKey', 'mongodb.uri'],
    validateSchedule: (expression) => validateSchedule(expression),
  });

/**
 * Loads the configuration and makes a logger for a command whose stdout is its result: level `warn` unless LOG_LEVEL is set.
 * @throws ConfigFault that names every fault
 */
export function loadSettings(requires: readonly SettingPath[], terminal: Terminal): CommandSettings {
  const loaded = loadConfig({ requires });
  const { config, sources } = loaded;
  // A file of settings is shared with the daemon: the level in it is the daemon's.
  const isAsked = sources.get('log.level')?.kind === 'environment';
  const level = isAsked ? config.log.level : 'warn';
  const format = config.log.format === 'auto' && terminal.stderr.isTTY ? 'pretty' : config.log.format;
  // Through the terminal, as a line in the midst of a progress bar would tear it.
  const logger = createLogger({ level, format }, { write: (line) => terminal.note(line.trimEnd()) });
  return { ...loaded, logger, workLogger: isAsked ? logger : logger.child({}, { level: 'error' }) };
}

// Opens the queue for a command: MongoDB alone to insert and to follow; for `--in-process` everything that works on a request too.
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
  const { openWorker } = await import('./in-process.js');
  return openWorker(settings, connection, signal);
};

const openAlone: Open = async ({ config, logger }, connection, signal) => {
  await openConnection(connection, { ...config.mongodb, appName: serviceName, logger, signal });
  return { work: async () => undefined, close: () => connection.close(true) };
};

// Opens the queue for a command that only looks and steers, and closes it whatever comes of it.
/** @throws as `openQueue`; what the task throws; `Interrupted` */
export const withQueue = (
  terminal: Terminal,
  task: (queue: Queue, signal: AbortSignal) => Promise<ExitCode>,
): Promise<ExitCode> =>
  interruptibly(async (signal) => {
    const queue = await openQueue(terminal, { isInProcess: false, signal });
    try {
      return await task(queue, signal);
    } finally {
      await queue.close();
    }
  });

/** MongoDB's time. @throws Fault `mongodb_unavailable` */
export async function databaseTime(db: mongo.Db): Promise<Date> {
  return persistently('telling its time', () => mongoTime(db));
}
