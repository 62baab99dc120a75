// `sync-all`: one request for a full scan.
import { type CommandInput, maxEntries } from '../requests/request.js';
import type { RequestCommandOptions } from './ask.js';
import { inputName, parseBatch, readInput } from './batch-input.js';
import type { CommandLine } from './commands.js';
import { parseTime, submit, withRequestOptions } from './request-command.js';
import { checkedIds, checkedRequestIds } from './typed-ids.js';

export function addSyncAll({ program, terminal, action }: CommandLine): void {
  withRequestOptions(program.command('sync-all'))
    .summary('sync every customer, removals included')
    .description('Page through every customer in Stripe and bring the mirror in line, removals included.')
    .action(
      action((options: RequestCommandOptions) =>
        submit(terminal, options, { inputs: [{ command: 'syncAll' }], entries: undefined }),
      ),
    );
}

// `sync-by-ids`: requests for customers by their ids, as many as a thousand ids each.
export function addSyncByIds({ program, terminal, action }: CommandLine): void {
  withRequestOptions(program.command('sync-by-ids'))
    .summary('sync the customers with these ids')
    .description('Retrieve the given customers from Stripe and bring each in line in the mirror.')
    .argument('<id...>', 'ids of customers, such as cus_123')
    .action(
      action(async (ids: readonly string[], options: RequestCommandOptions) => {
        const wanted = [...new Set(checkedIds(ids))];
        return submit(terminal, options, { inputs: inputsFor(wanted), entries: wanted.length });
      }),
    );
}

function inputsFor(ids: readonly string[]): readonly CommandInput[] {
  const starts = Array.from({ length: Math.ceil(ids.length / maxEntries) }, (_, index) => index * maxEntries);
  return starts.map((start) => ({ command: 'syncByIds', ids: ids.slice(start, start + maxEntries) }));
}

// `sync-batch`: requests with customers that the user already holds, split into as many as they need.
interface SyncBatchOptions extends RequestCommandOptions {
  readonly observedAt?: Date;
}

export function addSyncBatch({ program, terminal, action }: CommandLine): void {
  withRequestOptions(program.command('sync-batch'))
    .summary('sync customers from JSON, no call to Stripe')
    .description(
      'Bring customers that you already hold into the mirror, without a call to Stripe. The file holds a JSON array of ' +
        'customers as the Stripe API returns them (whole or in parts), one object, a list of Stripe, or one object a ' +
        'line. More than 1,000 customers or 4 MiB are split into several requests, which are followed together.',
    )
    .argument('<file>', 'file of JSON, or - for standard input')
    .option(
      '--observed-at <time>',
      'when the customers were read from Stripe (ISO 8601); now by default',
      parseTime,
    )
    .action(
      action(async (file: string, options: SyncBatchOptions) => {
        const name = inputName(file);
        const entries = parseBatch(await readInput(file, terminal.stdin), name);
        const { batchJob } = await import('./ask.js');
        return submit(terminal, options, batchJob(entries, { name, observedAt: options.observedAt }));
      }),
    );
}

// `soft-delete`: one request that marks a customer as deleted in the mirror.
export function addSoftDelete({ program, terminal, action }: CommandLine): void {
  withRequestOptions(program.command('soft-delete'))
    .summary('mark a customer as deleted in the mirror')
    .description(
      'Mark one customer as deleted in the mirror. Nothing is removed, and Stripe is not called. An id that the mirror ' +
        'does not have fails as not_found.',
    )
    .argument('<id>', 'id of a customer, such as cus_123')
    .action(
      action(async (id: string, options: RequestCommandOptions) => {
        checkedIds([id]);
        return submit(terminal, options, { inputs: [{ command: 'softDelete', stripeId: id }], entries: 1 });
      }),
    );
}

// `approve-removals`: one request that goes on with the removals that a scan has held.
export function addApproveRemovals({ program, terminal, action }: CommandLine): void {
  withRequestOptions(program.command('approve-removals'))
    .summary('go on with the removals that a scan has held')
    .description(
      'Retrieve each customer whose removal a scan has held (more than removals.maxCount and removals.maxRatio allow), ' +
        'and mark those that Stripe says are deleted. Find out first why there are so many.',
    )
    .argument(
      '<request>',
      'id of the request of that scan, as "requests list" shows it, or the name of a scan of the library',
    )
    .action(
      action(async (id: string, options: RequestCommandOptions) => {
        const [request = ''] = checkedRequestIds([id]);
        return submit(terminal, options, {
          inputs: [{ command: 'approveRemovals', request }],
          entries: undefined,
        });
      }),
    );
}
