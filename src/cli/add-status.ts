// `status`: what runs, what waits, how complete the mirror is, who works on it.
import type { CommandLine } from './commands.js';

export function addStatus({ program, terminal, action }: CommandLine): void {
  program
    .command('status')
    .summary('show what runs, what waits, and how complete the mirror is')
    .description(
      'Show what runs and what waits, the last complete scan and the next ones, the size of the mirror, the rate of ' +
        'calls and the replicas that are there. Needs MONGODB_URI alone; what its user may not read is told as not permitted.',
    )
    .option('--json', 'print one JSON document')
    .action(
      action(async (options: { readonly json?: true }) => {
        const { printStatus } = await import('./status.js');
        return printStatus(terminal, options);
      }),
    );
}
