// SIGTERM in the middle of each command: what can end ends, what cannot is given back, and another replica goes on at once.
import { describe, expect, test } from 'vitest';
import type { Daemon } from '../support/daemon.js';
import { type Fleet, openFleet } from '../support/fleet.js';
import { freshDatabase } from '../support/database.js';
import { keepJournal } from '../support/journal.js';
import type { AnyDocument } from '../support/requests.js';
import { until } from '../support/until.js';

const budgetMs = 5_000;
const goesOnWithinMs = 5_000;

const settings = {
  SHUTDOWN_TIMEOUT_MS: String(budgetMs),
  REQUESTS_LEASE_MS: '60000',
  REMOVALS_MAX_RATIO: '0',
  REMOVALS_MAX_COUNT: '0',
};

interface Work {
  document: AnyDocument;
  /** Resolves in the middle of it. */
  isAtWork: () => Promise<unknown>;
  /** Nothing holds it up any more. */
  release: () => void | Promise<void>;
}

/** Stops the only replica when it is at work and another one has come; returns the request as it ended. */
async function stopWhile(
  fleet: Fleet,
  stopping: Daemon,
  { document, isAtWork, release }: Work,
): Promise<AnyDocument> {
  const { user } = fleet;
  const journal = await keepJournal(user.requests);
  const [request] = await user.insert(document);
  await isAtWork();
  const other = await fleet.start();

  const stoppedAt = performance.now();
  expect(await stopping.stop()).toEqual({ code: 0, signal: null });
  expect(performance.now() - stoppedAt).toBeLessThan(budgetMs + 1_000);
  await release();

  const ended = await user.ended(request!);
  expect((await journal.ends()).get(String(request))).toHaveLength(1);
  expect(await fleet.differences()).toEqual([]);
  expect(await other.stop()).toEqual({ code: 0, signal: null });
  return ended;
}

/** Released with its attempt given back, and taken up by the other one. */
function expectTakenOver(ended: AnyDocument): void {
  expect(ended).toMatchObject({
    status: 'succeeded',
    attempts: 1,
    lease: { fence: 2 },
    history: [{ error: { code: 'shutdown' } }, {}],
  });
  const [released] = ended['history'] as { finishedAt: Date }[];
  const waitedMs = (ended['startedAt'] as Date).getTime() - released!.finishedAt.getTime();
  expect(waitedMs).toBeLessThan(goesOnWithinMs);
}

describe('SIGTERM in the middle of', () => {
  test('syncAll brings it to a checkpoint, and another replica goes on within 5 s', async () => {
    const fleet = await openFleet({ simulated: { seed: { count: 1_000 } }, settings });
    const held = fleet.simulator.hold({ endpoint: 'GET /v1/customers', when: 'before-compute', skip: 4 });
    const stopping = await fleet.start();

    const ended = await stopWhile(fleet, stopping, {
      document: { command: 'syncAll' },
      isAtWork: () => held.arrived,
      release: held.release,
    });

    expectTakenOver(ended);
  });

  test('syncByIds that does not come to an end releases it, and another replica goes on within 5 s', async () => {
    const fleet = await openFleet({ simulated: { seed: { count: 3 } }, settings });
    const held = fleet.simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'before-compute' });
    const stopping = await fleet.start();
    const ids = fleet.simulator.listIds();

    const ended = await stopWhile(fleet, stopping, {
      document: { command: 'syncByIds', ids },
      isAtWork: () => held.arrived,
      release: held.release,
    });

    expectTakenOver(ended);
  });

  test('approveRemovals that does not come to an end releases it, and another replica goes on within 5 s', async () => {
    const fleet = await openFleet({ simulated: { seed: { count: 30 } }, settings });
    const { simulator, user } = fleet;
    const stopping = await fleet.start();
    await user.run({ command: 'syncAll' });
    simulator.deleteRandom(5);
    const scan = await user.run({ command: 'syncAll' });
    expect(scan).toMatchObject({ status: 'partial', result: { removalsHeld: 5 } });
    const held = simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'before-compute' });

    const ended = await stopWhile(fleet, stopping, {
      document: { command: 'approveRemovals', request: scan._id },
      isAtWork: () => held.arrived,
      release: held.release,
    });

    expectTakenOver(ended);
  });

  test.each(['syncBatch', 'softDelete'])('%s lets it end', async (command) => {
    const database = freshDatabase();
    const fleet = await openFleet({ simulated: { seed: { count: 3 } }, settings, database });
    const { simulator, user } = fleet;
    const stopping = await fleet.start();
    await user.run({ command: 'syncAll' });
    const { id } = simulator.create();
    if (command === 'softDelete') {
      await user.run({ command: 'syncByIds', ids: [id] });
      simulator.delete(id);
    }
    const slow = await database.failCommand({
      failCommands: ['insert', 'update'],
      namespace: `${database.name}.stripe_customers`,
      blockConnection: true,
      blockTimeMS: 1_500,
      times: 1,
    });

    const ended = await stopWhile(fleet, stopping, {
      document: command === 'syncBatch' ? { command, batch: [simulator.get(id)] } : { command, stripeId: id },
      isAtWork: () => until(() => slow.timesEntered(), { what: 'the write to the mirror' }),
      release: slow.off,
    });

    expect(ended).toMatchObject({ status: 'succeeded', attempts: 1, lease: { fence: 1 } });
  });
});
