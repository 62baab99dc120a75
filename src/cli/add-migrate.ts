// `migrate`: creates what the daemon needs in MongoDB, so that the daemon itself can run without the right to.
import type { CommandLine } from './commands.js';
import type { MigrateOptions } from './migrate.js';

export function addMigrate({ program, terminal, action }: CommandLine): void {
  program
    .command('migrate')
    .summary('create collections, indexes, view and validator')
    .description(
      'Create what is missing in MongoDB of collections, indexes and the view, set the validator of requests, and print ' +
        'each with what became of it. Run it before a daemon that may not create them itself (MONGODB_AUTO_MIGRATE=false), ' +
        'and again with every new version. Nothing is dropped; a second run changes nothing. Needs MONGODB_URI alone.',
    )
    .option('--json', 'print JSON, one object a line')
    .action(
      action(async (options: MigrateOptions) => {
        const { runMigrate } = await import('./migrate.js');
        return runMigrate(terminal, options);
      }),
    );
}
