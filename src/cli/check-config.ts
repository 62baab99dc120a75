// `check-config`: prints the configuration that is in effect, or every fault of one that cannot be used.
import { formatConfig } from '../config.js';
import type { CommandLine } from './command-line.js';
import { exitCodes, type ExitCode } from './exit-code.js';
import { loadDaemonSettings } from './settings.js';
import type { Terminal } from './terminal.js';

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
