// `soft-delete`: one request that marks a customer as deleted in the mirror.
import type { CommandLine } from './command-line.js';
import { checkedIds } from './ids.js';
import type { RequestCommandOptions } from './job.js';
import { submit, withRequestOptions } from './request-command.js';

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
