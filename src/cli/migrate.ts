// `migrate`: creates what the daemon needs in MongoDB, so that the daemon itself needs no right to create it.
import { migrate } from '../migration.js';
import type { Change } from '../mongo/collections.js';
import { type ExitCode, exitCodes } from './faults.js';
import type { Terminal } from './screen/terminal.js';
import { withSession } from './session.js';

export interface MigrateOptions {
  /** One object per line. */
  readonly json?: true;
}

/**
 * Prints the outcome of each part. Exit code 1 where MongoDB refused one; the others are created.
 * @throws as `withSession`; a Fault where MongoDB stays away
 */
export const runMigrate = (terminal: Terminal, { json }: MigrateOptions): Promise<ExitCode> =>
  withSession(terminal, async ({ database, config }) => {
    const changes = await migrate(database, config.requests);
    for (const change of changes) terminal.result(json ? JSON.stringify(change) : changeText(change));
    return changes.some(({ outcome }) => outcome === 'refused') ? exitCodes.failed : exitCodes.succeeded;
  });

const changeText = ({ what, outcome, note }: Change): string =>
  `${outcome.padEnd(11)}${what}${note === undefined ? '' : `: ${note}`}`;
