// `sync-batch`: requests with customers that the user already holds, split into as many as they need.
import { parseBatch } from './batch-input.js';
import type { CommandLine } from './command-line.js';
import { inputName, readInput } from './read-input.js';
import type { RequestCommandOptions } from './job.js';
import { parseTime, submit, withRequestOptions } from './request-command.js';

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
        const { batchJob } = await import('./batch-job.js');
        return submit(terminal, options, batchJob(entries, { name, observedAt: options.observedAt }));
      }),
    );
}
