// `run`: the daemon, until a signal or a fault ends it.
import { runLifecycle } from '../base/lifecycle.js';
import { createLogger } from '../base/logger.js';
import { formatConfig, maskedConfig } from '../config/load.js';
import type { CommandLine } from './commands.js';
import { type ExitCode, exitCodes } from './faults.js';
import type { Terminal } from './screen/terminal.js';
import { loadDaemonSettings } from './session.js';

export function addRun({ program, action }: CommandLine): void {
  program
    .command('run')
    .summary('run the daemon')
    .description(
      'Run the daemon: it works on the requests in sync_requests, makes some by cron, and serves /metrics, /healthz ' +
        'and /readyz. SIGTERM or Ctrl-C stops it, with exit code 0, once what it works on is done or given back; a ' +
        'second signal ends it at once.',
    )
    .action(action(run));
}

async function run(): Promise<ExitCode> {
  const loaded = loadDaemonSettings();
  const { runDaemon } = await import('../daemon.js');
  const { config, warnings } = loaded;
  const logger = createLogger(config.log);
  logger.info({ config: maskedConfig(config) }, 'Configuration');
  for (const warning of warnings) logger.warn({ warning }, 'Setting ignored');
  return runLifecycle({ logger, timeoutMs: config.shutdown.timeoutMs, ownsProcess: true }, (lifecycle) =>
    runDaemon(loaded, lifecycle, logger),
  );
}

// `check-config`: prints the configuration that is in effect, or every fault of one that cannot be used.
export function addCheckConfig({ program, terminal, action }: CommandLine): void {
  program
    .command('check-config')
    .summary('print the effective configuration')
    .description(
      'Print the configuration that "run" would use as YAML, secrets masked, each setting that is no default with ' +
        'where it is from. A configuration that cannot be used ends with exit code 2 and every fault named.',
    )
    .action(action(async () => checkConfig(terminal)));
}

async function checkConfig(terminal: Terminal): Promise<ExitCode> {
  const { config, sources, warnings } = loadDaemonSettings();
  terminal.result(formatConfig(config, sources).trimEnd());
  for (const warning of warnings) terminal.note(`warning: ${warning}`);
  return exitCodes.succeeded;
}
