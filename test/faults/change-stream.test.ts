// The change stream dies, in every way it can: requests are found by polling meanwhile, and it is opened again.
import { describe, expect, test } from 'vitest';
import { said } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { openFleet } from '../support/fleet.js';
import { until } from '../support/until.js';

const ended = said('Change stream ended; reopening it. Polling finds requests until then');

describe('a change stream that dies', () => {
  test.each([
    [286, 'ChangeStreamHistoryLost'],
    [280, 'ChangeStreamFatalError'],
    [136, 'CappedPositionLost'],
  ])('of %i (%s), and stays dead, costs a request at most a poll interval', async (errorCode) => {
    const database = freshDatabase();
    const fleet = await openFleet({ database, simulated: { seed: { count: 3 } } });
    const { user, simulator } = fleet;
    const daemon = await fleet.start();
    await user.run({ command: 'syncAll' });
    const dead = await database.failCommand({
      failCommands: ['getMore', 'aggregate'],
      namespace: `${database.name}.sync_requests`,
      errorCode,
    });
    await daemon.waitForLine(ended, { what: 'the end of the stream' });
    await until(async () => (await dead.timesEntered()) >= 2, { what: 'it to be tried again' });

    const pollsAt = performance.now();
    for (let request = 0; request < 5; request += 1) {
      expect(await user.run({ command: 'syncByIds', ids: simulator.listIds() })).toMatchObject({
        status: 'succeeded',
        attempts: 1,
      });
    }
    const tookMs = performance.now() - pollsAt;

    // At most one try a second, as long as it stays dead.
    expect(await dead.timesEntered()).toBeLessThanOrEqual(4 + tookMs / 1_000);
    await dead.off();
    expect(daemon.logs().filter(({ msg }) => msg.startsWith('Change stream ended')).length).toBe(1);
    expect((await daemon.get('/healthz')).status).toBe(200);
    expect((await daemon.get('/readyz')).status).toBe(200);
    expect(daemon.errors()).toEqual([]);
  });

  test('as its collection was dropped is opened again, and no later request waits longer than a poll', async () => {
    const fleet = await openFleet({ simulated: { seed: { count: 3 } } });
    const { user, simulator } = fleet;
    const daemon = await fleet.start();
    await user.run({ command: 'syncAll' });

    await user.requests.drop();

    for (let request = 0; request < 5; request += 1) {
      expect(await user.run({ command: 'syncByIds', ids: simulator.listIds() })).toMatchObject({
        status: 'succeeded',
        attempts: 1,
      });
    }
    expect(daemon.errors()).toEqual([]);
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
  });
});
