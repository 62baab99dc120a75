// `requests`: looks at requests, and steers them. What a subcommand does is in its own file, loaded when it is called.
import { InvalidArgumentError, Option } from 'commander';
import { type RequestStatus, requestStatuses } from '../requests/request.js';
import type { CommandLine } from './commands.js';
import { UsageFault } from './faults.js';
import { parseSeconds, parseTime } from './request-command.js';
import type { ListOptions } from './requests/list.js';
import type { RetryOptions } from './requests/retry.js';
import type { SteerOptions } from './requests/steer.js';
import type { WatchOptions } from './requests/watch.js';
import { checkedRequestIds } from './typed-ids.js';

export function addRequests(line: CommandLine): void {
  const program = line.program
    .command('requests')
    .summary('list, show, retry, cancel and watch requests')
    .description('Look at the requests in sync_requests, and steer them. Needs MONGODB_URI alone.')
    .helpCommand(false);
  const inside = { ...line, program };
  addList(inside);
  addShow(inside);
  addRetry(inside);
  addCancel(inside);
  addWatch(inside);
}

const cronHidden = "successes of cron's requests are left out without --all";

function addList({ program, terminal, action }: CommandLine): void {
  program
    .command('list')
    .summary('list requests, the newest first')
    .description(`List requests, the newest first; ${cronHidden}.`)
    .addOption(
      new Option('--status <status>', `only these, as a list with commas: ${requestStatuses.join(', ')}`)
        .argParser(parseStatuses)
        .conflicts('failed'),
    )
    .option('--failed', 'short for --status failed,partial')
    .option('--command <name>', 'only those of this command, such as syncByIds')
    .option('--requested-by <text>', 'only those that say so')
    .option('--limit <number>', 'how many at most', parseLimit, 20)
    .option('--all', "with the successes of cron's requests")
    .option('--json', 'print one JSON array, without ids, batches and items')
    .action(
      action(async (options: ListOptions) => {
        const { listRequests } = await import('./requests/list.js');
        return listRequests(terminal, options);
      }),
    );
}

function addShow({ program, terminal, action }: CommandLine): void {
  program
    .command('show')
    .summary('show everything about a request')
    .description('Show a request: how it ended, what became of its customers, its attempts.')
    .argument('<id>', 'id of a request')
    .option('--json', 'print the document as JSON; of a batch its ids')
    .action(
      action(async (id: string, options: { readonly json?: true }) => {
        const [checked = ''] = checkedRequestIds([id]);
        const { showRequest } = await import('./requests/show.js');
        return showRequest(terminal, checked, options);
      }),
    );
}

function addRetry({ program, terminal, action }: CommandLine): void {
  program
    .command('retry')
    .summary('run requests again that have ended')
    .description(
      'Have requests that have ended run again, at once: their attempts begin anew, and a wish to cancel is forgotten.',
    )
    .argument('[id...]', 'ids of requests')
    .option('--failed', 'all that failed, wholly or in part, instead of ids')
    .option('--command <name>', 'with --failed: only those of this command')
    .option('--requested-by <text>', 'with --failed: only those that say so')
    .option('--since <time>', 'with --failed: only those that have ended since then (ISO 8601)', parseTime)
    .option('--wait', 'follow them to their ends; the exit code then tells how they ended')
    .option('--json', 'print each request document as JSON, one line each')
    .option('--timeout <seconds>', 'with --wait: stop following after so long', parseSeconds)
    .action(
      action(async (ids: readonly string[], options: RetryOptions) => {
        const checked = checkedRequestIds(ids);
        refuseMixed(ids, options);
        const { retryRequests } = await import('./requests/retry.js');
        return retryRequests(terminal, checked, options);
      }),
    );
}

/** @throws UsageFault */
function refuseMixed(ids: readonly string[], { failed, ...filters }: RetryOptions): void {
  const given = [filters.command, filters.requestedBy, filters.since].some((filter) => filter !== undefined);
  const isEither = failed ? ids.length === 0 : ids.length > 0 && !given;
  if (isEither) return;
  throw new UsageFault(['Which ones: either ids, or --failed with --command, --requested-by and --since']);
}

function addCancel({ program, terminal, action }: CommandLine): void {
  program
    .command('cancel')
    .summary('cancel requests')
    .description(
      'Cancel requests: one that waits ends at once, one that runs at its next checkpoint, with what it has done so ' +
        'far. Follows them until they have ended; exit code 0 says that all ended as cancelled.',
    )
    .argument('<id...>', 'ids of requests')
    .addOption(new Option('--no-wait', 'end without following them').conflicts(['timeout']))
    .option('--json', 'print each request document as JSON, one line each')
    .option('--timeout <seconds>', 'stop following after so long', parseSeconds)
    .action(
      action(async (ids: readonly string[], options: SteerOptions) => {
        const checked = checkedRequestIds(ids);
        const { cancelRequests } = await import('./requests/cancel.js');
        return cancelRequests(terminal, checked, options);
      }),
    );
}

function addWatch({ program, terminal, action }: CommandLine): void {
  program
    .command('watch')
    .summary('watch requests as they change')
    .description(
      'Watch what runs, waits and ends, until Ctrl-C: a table on a terminal, otherwise one line a change. With an id ' +
        `that request alone, until it has ended; the exit code tells how. Also here ${cronHidden}.`,
    )
    .argument('[id]', 'id of a request')
    .option('--all', "with the successes of cron's requests")
    .option('--json', 'print JSON, one line a change')
    .action(
      action(async (id: string | undefined, options: WatchOptions) => {
        const [checked] = checkedRequestIds(id === undefined ? [] : [id]);
        const { watchRequests } = await import('./requests/watch.js');
        return watchRequests(terminal, checked, options);
      }),
    );
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
