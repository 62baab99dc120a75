// `run`: the daemon, until a signal or a fault ends it.
import { maskedConfig } from '../config.js';
import { runLifecycle } from '../lifecycle.js';
import { createLogger } from '../logger.js';
import type { CommandLine } from './command-line.js';
import type { ExitCode } from './exit-code.js';
import { loadDaemonSettings } from './settings.js';

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
