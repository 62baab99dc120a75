// Creates what is missing in MongoDB, and tells what became of each thing.
import mongoose from 'mongoose';
import { serviceName } from '../base/version.js';
import { migrate } from '../migration.js';
import type { Change } from '../mongo/collections.js';
import { openConnection } from '../mongo/connection.js';
import { type ExitCode, exitCodes, interruptibly } from './faults.js';
import type { Terminal } from './screen/terminal.js';
import { loadSettings } from './session.js';

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
