// `sync-all`: one request for a full scan.
import type { CommandLine } from './command-line.js';
import type { RequestCommandOptions } from './job.js';
import { submit, withRequestOptions } from './request-command.js';

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
