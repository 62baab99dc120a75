// Attempts of a scan that gets nowhere: they are counted, or it would be tried for ever.
import { expect, test } from 'vitest';
import { startSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { startDaemon, UserOfQueue } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';

test('a dry run of a scan that cannot read ends when its attempts are used up: what it holds of itself is no checkpoint', async () => {
  const database = freshDatabase();
  const user = new UserOfQueue(database.db);
  const simulator = await startSimulator({ seed: { count: 3 } });
  atEnd(() => simulator.close());
  const daemon = startDaemon(database, simulator, {
    STRIPE_CALL_DEADLINE_MS: '300',
    REQUESTS_RETRY_BASE_MS: '10',
    REQUESTS_RETRY_MAX_MS: '10',
  });
  await daemon.ready();
  simulator.fault({ kind: 'status', status: 500, endpoint: 'GET /v1/customers', times: Infinity });

  const ended = await user.run({ command: 'syncAll', dryRun: true, maxAttempts: 2 });

  expect(ended).toMatchObject({
    status: 'failed',
    attempts: 2,
    error: { code: 'attempts_exhausted', cause: { code: 'stripe_unavailable' } },
  });
});
