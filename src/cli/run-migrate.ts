// Creates what is missing in MongoDB, and tells what became of each thing.
import mongoose from 'mongoose';
import type { Change } from '../collections.js';
import { migrate } from '../migration.js';
import { openConnection } from '../store/connection.js';
import { serviceName } from '../version.js';
import { exitCodes, type ExitCode } from './exit-code.js';
import { interruptibly } from './interruption.js';
import { loadSettings } from './settings.js';
import type { Terminal } from './terminal.js';

export interface MigrateOptions {
  readonly json?: true;
}

export async function runMigrate(terminal: Terminal, { json }: MigrateOptions): Promise<ExitCode> {
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
