// `check-config --connect`: what the daemon's user may do in MongoDB, and whether the key may list customers.
import { tryKey, tryRights } from '../rights.js';
import { type ExitCode, exitCodes } from './faults.js';
import type { Terminal } from './screen/terminal.js';
import { withSession } from './session.js';

/**
 * Prints what became of each right. Exit code 1 where one is refused, or something is missing that the start
 * does not create.
 * @throws as `withSession`
 */
export const checkConnections = (terminal: Terminal): Promise<ExitCode> =>
  withSession(
    terminal,
    async ({ database, config, logger, signal }) => {
      const { autoMigrate } = config.mongodb;
      const { changeStream } = config.requests;
      const { rights, missing } = await tryRights(database, { autoMigrate, changeStream });
      const tell = (outcome: string, what: string): void => terminal.result(outcome.padEnd(11) + what);
      for (const { action, collection, refused } of rights) {
        const what = `${action} on ${collection}`;
        if (refused === undefined) tell('granted', what);
        else tell('refused', `${what}: ${refused}`);
      }
      const remedy = autoMigrate ? 'the start creates it' : 'run "stripe-mongo-sync migrate"';
      for (const what of missing) tell('missing', `${what}: ${remedy}`);
      const fault = await tryKey(database, config.stripe, { logger, signal });
      if (fault) tell('refused', `listing customers in Stripe: ${fault.message}`);
      else tell('granted', 'listing customers in Stripe');
      const isReady = rights.every(({ refused }) => refused === undefined) && !fault;
      return isReady && (autoMigrate || missing.length === 0) ? exitCodes.succeeded : exitCodes.failed;
    },
    { needsKey: true },
  );
