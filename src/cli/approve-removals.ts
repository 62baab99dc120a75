// `approve-removals`: one request that goes on with the removals that a scan has held.
import type { CommandLine } from './command-line.js';
import type { RequestCommandOptions } from './job.js';
import { submit, withRequestOptions } from './request-command.js';
import { checkedRequestIds } from './request-ids.js';

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
