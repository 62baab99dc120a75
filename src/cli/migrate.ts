// `migrate`: creates what the daemon needs in MongoDB, so that the daemon itself can run without the right to.
import mongoose from 'mongoose';
import type { Change } from '../collections.js';
import { migrate } from '../migration.js';
import { openConnection } from '../store/connection.js';
import { serviceName } from '../version.js';
import type { CommandLine } from './command-line.js';
import { exitCodes, type ExitCode } from './exit-code.js';
import { interruptibly } from './interruption.js';
import { loadSettings } from './settings.js';
import type { Terminal } from './terminal.js';

interface MigrateOptions {
  readonly json?: true;
}

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
    .action(action((options: MigrateOptions) => runMigrate(terminal, options)));
}

async function runMigrate(terminal: Terminal, { json }: MigrateOptions): Promise<ExitCode> {
  const { config, logger } = loadSettings(['mongodb.uri'], terminal);
  return interruptibly(async (signal) => {
    const { connection } = mongoose;
    await openConnection(connection, { ...config.mongodb, appName: serviceName, logger, signal });
    try {
      const changes = await migrate(connection, config.requests);
      for (const change of changes) terminal.result(json ? JSON.stringify(change) : changeText(change));
      return changes.some(({ outcome }) => outcome === 'refused') ? exitCodes.failed : exitCodes.succeeded;
    } finally {
      await connection.close(true);
    }
  });
}

const changeText = ({ what, outcome, note }: Change): string =>
  `${outcome.padEnd(11)}${what}${note === undefined ? '' : `: ${note}`}`;
