// `sync-by-ids`: requests for customers by their ids, as many as a thousand ids each.
import { maxEntries, type CommandInput } from '../requests/document.js';
import type { CommandLine } from './command-line.js';
import { checkedIds } from './ids.js';
import type { RequestCommandOptions } from './job.js';
import { submit, withRequestOptions } from './request-command.js';

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
