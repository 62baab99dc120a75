// The recipe for Node of docs/recipes, run against the real daemon as a user would run it.
import { expect, test } from 'vitest';
import { startSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { startDaemon } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { startProcess } from '../support/process.js';

test('the recipe for Node inserts, waits, cancels, retries and lists failures', async () => {
  const database = freshDatabase();
  const simulator = await startSimulator();
  atEnd(() => simulator.close());
  simulator.create({ id: 'cus_1' });
  await startDaemon(database, simulator).ready();

  const recipe = startProcess({
    entry: 'docs/recipes/requests.mjs',
    env: { MONGODB_URI: database.uri },
  });
  const { code } = await recipe.exit;

  expect(recipe.lines.map(({ text }) => text)).toEqual([
    "inserted succeeded [ { id: 'cus_1', outcome: 'created' } ]",
    'cancelled cancelled',
    'retried true not_found',
    'failure softDelete not_found 1',
  ]);
  expect(code).toBe(0);
});
