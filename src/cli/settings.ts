// The configuration as the daemon and as commands read it. Of a command only what it needs is required, and its log is quiet and on stderr.
import { loadConfig, type LoadedConfig, type SettingPath } from '../config.js';
import { createLogger, type Logger } from '../logger.js';
import { validateSchedule } from '../schedule/cron.js';
import type { Terminal } from './terminal.js';

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
