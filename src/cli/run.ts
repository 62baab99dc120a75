// `run`: the daemon, until a signal or a fault ends it. `check-config`: the configuration that it would use.
import { runLifecycle } from '../base/lifecycle.js';
import { createLogger } from '../base/logger.js';
import { formatConfig, loadConfig, type LoadedConfig, maskedConfig } from '../config/load.js';
import { validateSchedule } from '../schedule/slots.js';
import { type ExitCode, exitCodes } from './faults.js';
import type { Terminal } from './screen/terminal.js';

/** @throws ConfigFault that names every fault */
const loadDaemonSettings = (): LoadedConfig =>
  loadConfig({
    requires: ['stripe.apiKey', 'mongodb.uri'],
    validateSchedule: (expression) => validateSchedule(expression),
  });

export async function run(): Promise<ExitCode> {
  const loaded = loadDaemonSettings();
  // Loaded only for a configuration that can be used: it brings the MongoDB driver and the Stripe SDK.
  const { runDaemon } = await import('../daemon.js');
  const { config, warnings } = loaded;
  const logger = createLogger(config.log);
  logger.info({ config: maskedConfig(config) }, 'Configuration');
  for (const warning of warnings) logger.warn({ warning }, 'Setting ignored');
  return runLifecycle({ logger, timeoutMs: config.shutdown.timeoutMs, ownsProcess: true }, (lifecycle) =>
    runDaemon(loaded, lifecycle, logger),
  );
}

export interface CheckOptions {
  readonly connect?: true;
}

/** @throws ConfigFault; with `connect` as `checkConnections` */
export async function checkConfig(terminal: Terminal, { connect }: CheckOptions): Promise<ExitCode> {
  const loaded = loadDaemonSettings();
  const { config, sources, warnings } = loaded;
  terminal.result(formatConfig(config, sources).trimEnd());
  for (const warning of warnings) terminal.note(`warning: ${warning}`);
  if (!connect) return exitCodes.succeeded;
  // Loaded only here: it brings the MongoDB driver and the Stripe SDK.
  const { checkConnections } = await import('./check.js');
  return checkConnections(terminal);
}
