// The command line on one page: every command with its help, its arguments and options, and the function that
// runs it. That function is loaded when its command is called, so that help and usage errors load neither the
// MongoDB driver nor the Stripe SDK.
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { serviceName, serviceVersion } from '../base/version.js';
import { type RequestStatus, requestStatuses } from '../requests/request.js';
import { complain, type ExitCode, exitCodeOf, exitCodes } from './faults.js';
import type { Terminal } from './screen/terminal.js';

const epilogue = `
Settings come from the environment (STRIPE_API_KEY, MONGODB_URI, …), from the
YAML file that CONFIG_FILE names, and from defaults; check-config prints them.
Help for a command: ${serviceName} help sync-all

Exit codes:
  0    succeeded
  1    a fault, or a request that ended as partial, failed or cancelled
  2    invalid usage or configuration
  130  interrupted by Ctrl-C (143: by SIGTERM)`;

/** Runs a command, with the arguments and options that commander has parsed. */
type Run<Given extends unknown[]> = (terminal: Terminal, ...given: Given) => Promise<ExitCode>;

/** Wraps a lazily loaded function in one that commander can call. */
type Action = <Given extends unknown[]>(
  load: () => Promise<Run<Given>>,
) => (...given: Given) => Promise<void>;

function addDaemon(program: Command, action: Action): void {
  program
    .command('run')
    .summary('run the daemon')
    .description(
      'Run the daemon. It runs the requests in MongoDB, inserts scans on a schedule, and serves /metrics, /healthz ' +
        'and /readyz. SIGTERM or Ctrl-C stops it: it finishes or releases its requests and exits with 0. A second signal ' +
        'ends it at once.',
    )
    .action(action(async () => (await import('./run.js')).run));
  program
    .command('check-config')
    .summary('print the effective configuration')
    .description(
      'Print the configuration that "run" would use, as YAML. Secrets are masked, and each setting that is not a ' +
        'default shows its source. An invalid configuration exits with 2 and names every fault. With --connect, connect ' +
        'to MongoDB and Stripe as "run" would, and try each right that it needs, without writing anything. What is ' +
        'missing is named, and the exit code is 1.',
    )
    .option('--connect', 'try the rights in MongoDB and the key, too')
    .action(action(async () => (await import('./run.js')).checkConfig));
  program
    .command('migrate')
    .summary('create collections, indexes, view and validator')
    .description(
      'Create the collections, indexes and view that are missing in MongoDB, set the validator of the requests, and ' +
        'print the outcome of each. Run it with every new version, before a daemon that may not create them itself ' +
        '(MONGODB_AUTO_MIGRATE=false). It drops nothing, and a second run changes nothing. Needs only MONGODB_URI.',
    )
    .option('--json', 'print JSON, one object per line')
    .action(action(async () => (await import('./migrate.js')).runMigrate));
  program
    .command('bind')
    .summary('show or reset the Stripe account that the database is bound to')
    .description(
      'Show which Stripe account and mode the database is bound to. With --reset, take that binding away: the next key ' +
        'that starts binds the database without proof. Its customers stay. Times, checkpoints and candidates of scans, ' +
        'the hashes of known keys and the count of calls are cleared. Needs only MONGODB_URI.',
    )
    .option('--reset', 'take the binding away, after a question; no daemon may run')
    .option('--yes', 'with --reset: do not ask')
    .option('--json', 'print one JSON document')
    .action(action(async () => (await import('./bind.js')).bind));
}

function addAdopt(program: Command, action: Action): void {
  program
    .command('adopt')
    .summary('move in to a collection of customers that is there already')
    .description(
      'Take over a collection of customers that an application has filled. Of documents whose _id is a Stripe customer ' +
        'id, fields that Stripe does not send move under app, and nothing there is overwritten. Others are listed and ' +
        'left. Then the collection is marked, so that a daemon may start. --dry-run shows counts and samples, without ' +
        'values, and writes nothing. An interrupted run may be repeated. Needs only MONGODB_URI.',
    )
    .option('--dry-run', 'show what would change; write nothing')
    .option('--yes', 'do not ask')
    .option('--json', 'print one JSON document')
    .action(action(async () => (await import('./adopt.js')).adopt));
}

function addSyncs(program: Command, action: Action): void {
  withRequestOptions(program.command('sync-all'))
    .summary('sync every customer, deletions included')
    .description('List every customer in Stripe and update the mirror, deletions included.')
    .action(action(async () => (await import('./ask.js')).syncAll));
  withRequestOptions(program.command('sync-by-ids'))
    .summary('sync the customers with these ids')
    .description('Retrieve the given customers from Stripe and update each in the mirror.')
    .argument('<id...>', 'customer ids, such as cus_123')
    .action(action(async () => (await import('./ask.js')).syncByIds));
  withRequestOptions(program.command('sync-batch'))
    .summary('sync customers from JSON, without calling Stripe')
    .description(
      'Write customers that you already hold into the mirror, without calling Stripe. The file has customers as the ' +
        'Stripe API returns them, whole or in part: a JSON array, one object, a Stripe list, or one object per line. ' +
        'More than 1,000 customers or 4 MiB are split into several requests, which are followed together.',
    )
    .argument('<file>', 'JSON file, or - for standard input')
    .option(
      '--observed-at <time>',
      'when the customers were read from Stripe (ISO 8601; default: now)',
      parseTime,
    )
    .action(action(async () => (await import('./ask.js')).syncBatch));
  withRequestOptions(program.command('soft-delete'))
    .summary('mark a customer as deleted in the mirror')
    .description(
      'Mark one customer as deleted in the mirror. Its document stays, and Stripe is not called. An id that is not in ' +
        'the mirror fails as not_found.',
    )
    .argument('<id>', 'customer id, such as cus_123')
    .action(action(async () => (await import('./ask.js')).softDelete));
  withRequestOptions(program.command('approve-removals'))
    .summary('apply deletions that a scan held for approval')
    .description(
      'Retrieve each customer whose deletion a scan held for approval, because it found more than removals.maxCount ' +
        'and removals.maxRatio allow. Customers that Stripe confirms as deleted are marked. Find out first why there ' +
        'are so many.',
    )
    .argument(
      '<request>',
      'request id of the scan, as "requests list" shows it, or the name of a scan of the library',
    )
    .action(action(async () => (await import('./ask.js')).approveRemovals));
}

function withRequestOptions(command: Command): Command {
  return command
    .option('--dry-run', 'report what would change; write nothing to the mirror')
    .option('--in-process', 'run it in this process, without a daemon (needs the Stripe key)')
    .option('--json', 'print the final request document as JSON, one per line')
    .addOption(
      new Option('--no-wait', 'insert it, print its id and exit').conflicts(['inProcess', 'timeout']),
    )
    .option('--timeout <seconds>', 'stop following after this time; the request continues', parseSeconds);
}

const allHelp = 'include successful requests of cron';
const cronNote = 'Successful requests of cron are left out unless --all is given.';
const documentsHelp = 'print each request document as JSON, one per line';

function addRequests(program: Command, action: Action): void {
  const requests = program
    .command('requests')
    .summary('list, show, retry, cancel and watch requests')
    .description('Inspect and control the requests in MongoDB. Needs only MONGODB_URI.')
    .helpCommand(false);
  requests
    .command('list')
    .summary('list requests, newest first')
    .description(`List requests, newest first. ${cronNote}`)
    .addOption(
      new Option(
        '--status <status>',
        `only these statuses, separated by commas: ${requestStatuses.join(', ')}`,
      )
        .argParser(parseStatuses)
        .conflicts('failed'),
    )
    .option('--failed', 'short for --status failed,partial')
    .option('--command <name>', 'only this command, such as syncByIds')
    .option('--requested-by <text>', 'only requests with this requestedBy')
    .option('--limit <number>', 'show at most this many', parseLimit, 20)
    .option('--all', allHelp)
    .option('--json', 'print one JSON array, without ids, batches and items')
    .action(action(async () => (await import('./requests/list.js')).listRequests));
  requests
    .command('show')
    .summary('show everything about a request')
    .description('Show how a request ended, what was asked, its attempts, and the outcome of each customer.')
    .argument('<id>', 'request id')
    .option('--json', 'print the document as JSON, a batch reduced to its ids')
    .action(action(async () => (await import('./requests/show.js')).showRequest));
  requests
    .command('retry')
    .summary('requeue requests that have ended')
    .description(
      'Requeue requests that have ended, due now. Their attempts are counted anew, and a cancellation is cleared.',
    )
    .argument('[id...]', 'request ids')
    .option('--failed', 'all failed and partial requests, instead of ids')
    .option('--command <name>', 'with --failed: only this command')
    .option('--requested-by <text>', 'with --failed: only requests with this requestedBy')
    .option('--since <time>', 'with --failed: only requests that ended since then (ISO 8601)', parseTime)
    .option('--wait', 'follow them until they end; the exit code tells how they ended')
    .option('--json', documentsHelp)
    .option('--timeout <seconds>', 'with --wait: stop following after this time', parseSeconds)
    .action(action(async () => (await import('./requests/retry.js')).retryRequests));
  requests
    .command('cancel')
    .summary('cancel requests')
    .description(
      'Cancel requests. A waiting request ends at once, a running one at its next checkpoint, with what it has done by ' +
        'then. The command follows them until they have ended, and exits with 0 if all were cancelled.',
    )
    .argument('<id...>', 'request ids')
    .addOption(new Option('--no-wait', 'exit without following them').conflicts(['timeout']))
    .option('--json', documentsHelp)
    .option('--timeout <seconds>', 'stop following after this time', parseSeconds)
    .action(action(async () => (await import('./requests/cancel.js')).cancelRequests));
  requests
    .command('watch')
    .summary('watch requests as they change')
    .description(
      'Watch running, waiting and finished requests until Ctrl-C: a table on a terminal, otherwise one line per change. ' +
        `With an id, only that request until it ends; the exit code tells how it ended. ${cronNote}`,
    )
    .argument('[id]', 'request id')
    .option('--all', allHelp)
    .option('--json', 'print JSON, one line per change')
    .action(action(async () => (await import('./requests/watch.js')).watchRequests));
}

function addStatus(program: Command, action: Action): void {
  program
    .command('status')
    .summary('show requests, schedule, mirror, call rate and replicas')
    .description(
      'Show running and waiting requests, the last complete scan and the next ones, the size of the mirror, the call ' +
        'rate, and the replicas. Needs only MONGODB_URI. What its user may not read is shown as "not permitted".',
    )
    .option('--json', 'print one JSON document')
    .action(action(async () => (await import('./status.js')).printStatus));
}

function addHelp(program: Command): void {
  program
    .command('help')
    .summary('print the help of a command')
    .description('Print the help of a command, such as sync-all or requests retry.')
    .argument('[command...]', 'name of the command, and of its subcommand')
    .action(async (names: readonly string[]) => {
      let command = program;
      for (const name of names) {
        const found = command.commands.find((each) => each.name() === name);
        if (found) command = found;
        // commander itself refuses an unknown name, and suggests the nearest.
        else if (command.commands.length > 0) await command.parseAsync([name], { from: 'user' });
        else command.error(`error: '${pathOf(command)}' has no subcommand '${name}'`);
      }
      command.outputHelp();
    });
}

const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

/** Runs the command that the arguments name. Never rejects: faults go to stderr and become the exit code. */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.succeeded;
  const program = new Command(serviceName)
    .description("Mirrors a Stripe account's customers into MongoDB, on a schedule and on demand")
    .version(serviceVersion, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: false })
    .addHelpText('after', epilogue)
    .configureOutput({
      writeOut: (text) => terminal.result(text.trimEnd()),
      writeErr: (text) => terminal.note(text.trimEnd()),
    })
    .exitOverride();
  const action: Action =
    (load) =>
    async (...given) => {
      const run = await load();
      exitCode = await run(terminal, ...given);
    };
  addDaemon(program, action);
  addAdopt(program, action);
  addSyncs(program, action);
  addRequests(program, action);
  addStatus(program, action);
  addHelp(program);
  pointToHelp(program);
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    // commander has printed it already, help included.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.succeeded : exitCodes.usage;
    complain(terminal, error);
    return exitCodeOf(error);
  }
}

/** An error of a command names the help of that command. */
function pointToHelp(command: Command): void {
  command.showHelpAfterError(`See ${pathOf(command)} --help`);
  command.commands.forEach(pointToHelp);
}

// Parsers of options. All throw InvalidArgumentError.

/** Timers hold no more milliseconds than 31 bits. */
const longestTimeoutSeconds = 2_000_000;

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds <= longestTimeoutSeconds) return seconds;
  throw new InvalidArgumentError(`It must be a number of seconds above 0, at most ${longestTimeoutSeconds}.`);
}

function parseTime(text: string): Date {
  const time = new Date(text);
  if (/^\d{4}-\d{2}-\d{2}/.test(text) && !Number.isNaN(time.getTime())) return time;
  throw new InvalidArgumentError('It must be a time such as 2026-01-31T12:00:00Z.');
}

function parseStatuses(text: string, before: readonly RequestStatus[] = []): readonly RequestStatus[] {
  const statuses = text.split(',').map((each) => {
    const known = requestStatuses.find((status) => status === each.trim());
    if (!known) throw new InvalidArgumentError(`Statuses are ${requestStatuses.join(', ')}.`);
    return known;
  });
  return [...before, ...statuses];
}

const mostListed = 1_000;

function parseLimit(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= mostListed) return limit;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${mostListed}.`);
}
