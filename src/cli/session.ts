// The environment of a command: the settings it needs, a quiet log on stderr, and MongoDB. With
// `--in-process` it also has everything that runs requests.
import mongoose from 'mongoose';
import { createLogger, type Logger } from '../base/logger.js';
import { serviceName } from '../base/version.js';
import { type Config, loadConfig, type LoadedConfig } from '../config/load.js';
import { mongoTime } from '../mongo/clock.js';
import { openConnection } from '../mongo/connection.js';
import { persistently } from '../mongo/faults.js';
import { databaseOf, type OurDatabase } from '../mongo/sync-state.js';
import { type RequestCollection, type RequestId, typedRequestsOf } from '../requests/request.js';
import { type ExitCode, interruptibly } from './faults.js';
import type { Terminal } from './screen/terminal.js';

export interface CommandSettings extends LoadedConfig {
  readonly logger: Logger;
  /** For the work on requests: the command itself prints how they end. */
  readonly workLogger: Logger;
}

/** What runs requests in this process. */
export interface RequestWork {
  /** Runs the requests one after another until all have ended. An abort releases the running one. */
  readonly work: (ids: readonly RequestId[], signal: AbortSignal) => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface Session {
  readonly terminal: Terminal;
  readonly config: Config;
  readonly logger: Logger;
  readonly database: OurDatabase;
  readonly requests: RequestCollection;
  /** How long to wait for MongoDB before giving up, in milliseconds. */
  readonly patienceMs: number;
  /** Aborted by Ctrl-C and SIGTERM; the reason is `Interrupted`. */
  readonly signal: AbortSignal;
  /** With `--in-process`; otherwise a daemon has to run the requests. */
  readonly work: RequestWork['work'] | undefined;
  /** Repeats an idempotent step while MongoDB is away. @throws as `persistently` */
  readonly persist: <T>(doing: string, step: () => Promise<T>) => Promise<T>;
  /** MongoDB's time. @throws Fault `mongodb_unavailable` */
  readonly now: () => Promise<Date>;
}

interface SessionOptions {
  readonly inProcess?: boolean | undefined;
  /** The task calls Stripe; with `inProcess` it may. */
  readonly needsKey?: boolean;
}

/**
 * Opens a session for the task, and always closes it.
 * @throws ConfigFault; a fatal Fault that says what to do where MongoDB or Stripe is unusable; `Interrupted`;
 *   what the task throws
 */
export function withSession(
  terminal: Terminal,
  task: (session: Session) => Promise<ExitCode>,
  { inProcess = false, needsKey = inProcess }: SessionOptions = {},
): Promise<ExitCode> {
  const settings = loadSettings(terminal, needsKey);
  const { config, logger } = settings;
  const { connection } = mongoose;
  return interruptibly(async (signal) => {
    // Loaded only here: the Stripe SDK takes its time to load.
    const openWorker = inProcess ? (await import('./in-process.js')).openWorker : undefined;
    const worker = await openWorker?.(settings, connection, signal);
    if (!worker)
      await openConnection(connection, { ...config.mongodb, appName: serviceName, logger, signal });
    const database = { db: databaseOf(connection), names: config.mongodb.collections };
    const patienceMs = config.mongodb.connectDeadlineMs;
    const persist: Session['persist'] = (doing, step) =>
      persistently(doing, step, { withinMs: patienceMs, signal });
    try {
      return await task({
        terminal,
        config,
        logger,
        database,
        requests: typedRequestsOf(database),
        patienceMs,
        signal,
        work: worker?.work,
        persist,
        now: () => persist('telling its time', () => mongoTime(database.db)),
      });
    } finally {
      await (worker ? worker.close() : connection.close(true));
    }
  });
}

/**
 * Requires only what the command needs. Logs at level `warn` unless LOG_LEVEL is set: stdout is for the
 * command's result.
 */
function loadSettings(terminal: Terminal, needsKey: boolean): CommandSettings {
  const loaded = loadConfig({ requires: needsKey ? ['stripe.apiKey', 'mongodb.uri'] : ['mongodb.uri'] });
  const { config, sources } = loaded;
  // The daemon shares a settings file, so the log level in the file is meant for the daemon.
  const isAsked = sources.get('log.level')?.kind === 'environment';
  const level = isAsked ? config.log.level : 'warn';
  const format = config.log.format === 'auto' && terminal.stderr.isTTY ? 'pretty' : config.log.format;
  // Through the terminal, because a log line in the middle of a progress bar would break the bar.
  const logger = createLogger({ level, format }, { write: (line) => terminal.note(line.trimEnd()) });
  return { ...loaded, logger, workLogger: isAsked ? logger : logger.child({}, { level: 'error' }) };
}
