// The command line: which commands there are, and what an error's exit code is. What a command does is in its own file.
import { Command, CommanderError } from 'commander';
import { serviceName, serviceVersion } from '../base/version.js';
import { addMigrate } from './add-migrate.js';
import { addRequests } from './add-requests.js';
import { addCheckConfig, addRun } from './add-run.js';
import { addStatus } from './add-status.js';
import { addApproveRemovals, addSoftDelete, addSyncAll, addSyncBatch, addSyncByIds } from './add-syncs.js';
import { complain, type ExitCode, exitCodeOf, exitCodes } from './faults.js';
import type { Terminal } from './screen/terminal.js';

/** What a command is added to. */
export interface CommandLine {
  readonly program: Command;
  readonly terminal: Terminal;
  /** Makes a function that commander can call of one that resolves with the exit code. */
  readonly action: <Args extends unknown[]>(
    run: (...args: Args) => Promise<ExitCode>,
  ) => (...args: Args) => Promise<void>;
}

/** In the order of the help. */
const commands = [
  addRun,
  addCheckConfig,
  addMigrate,
  addSyncAll,
  addSyncByIds,
  addSyncBatch,
  addSoftDelete,
  addApproveRemovals,
  addRequests,
  addStatus,
];

const epilogue = `
Settings come from the environment (STRIPE_API_KEY, MONGODB_URI, …), from the
YAML file that CONFIG_FILE names, and from defaults; check-config prints them.
Help of a command: ${serviceName} sync-all --help

Exit codes:
  0    succeeded
  1    a fault, or a request that ended partial, failed or cancelled
  2    usage or configuration
  130  interrupted by Ctrl-C (143: by SIGTERM)`;

/** Runs the command that the arguments name. Never rejects: faults are told on stderr and become the exit code. */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.succeeded;
  const program = new Command(serviceName)
    .description("Keeps a MongoDB mirror of a Stripe account's customers")
    .version(serviceVersion, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help, or that of a command')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: false })
    .addHelpText('after', epilogue)
    .showHelpAfterError(`See ${serviceName} --help`)
    .configureOutput({
      writeOut: (text) => terminal.result(text.trimEnd()),
      writeErr: (text) => terminal.note(text.trimEnd()),
    })
    .exitOverride();
  const action: CommandLine['action'] =
    (run) =>
    async (...given) => {
      exitCode = await run(...given);
    };
  for (const add of commands) add({ program, terminal, action });
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    // commander has told it already, help included.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.succeeded : exitCodes.usage;
    complain(terminal, error);
    return exitCodeOf(error);
  }
}
