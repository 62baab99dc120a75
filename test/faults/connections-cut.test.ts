// Connections to a healthy MongoDB are cut again and again, by resets and by closes, in the middle of whatever goes on.
import { expect, test } from 'vitest';
import { databaseAt, openFleet } from '../support/fleet.js';
import { startReplicaSet } from '../support/mongodb.js';
import { startRelay } from '../support/relay.js';
import { until } from '../support/until.js';

test('connections that are cut again and again cost time, and no request', async () => {
  const server = await startReplicaSet();
  const relay = await startRelay(server.members[0]!.port);
  const database = databaseAt(server.uriFor('stripe'));
  const fleet = await openFleet({
    simulated: { seed: { count: 600 }, latency: { ms: 5 } },
    settings: {
      MONGODB_URI: `mongodb://${relay.host}/stripe?directConnection=true`,
      REQUESTS_MAX_ATTEMPTS: '20',
    },
    database,
  });
  const { user, simulator } = fleet;
  const daemons = await Promise.all([fleet.start(), fleet.start()]);
  await user.run({ command: 'syncAll' });
  const ids = simulator.listIds();
  relay.cutEvery(60);

  for (let round = 0; relay.cuts() < 2_500; round += 1) {
    simulator.updateRandom(20);
    const some = Array.from({ length: 40 }, (_, index) => ids[(round * 40 + index) % ids.length]!);
    await user.insert({ command: 'syncAll' }, ...some.map((id) => ({ command: 'syncByIds', ids: [id] })), {
      command: 'syncByIds',
      ids: some,
    });
    await until(async () => (await user.requests.countDocuments({ finishedAt: { $exists: false } })) < 100, {
      what: 'the queue to be short',
      timeoutMs: 60_000,
    });
  }
  relay.cutEvery(0);

  const asked = await user.requests.find().toArray();
  await user.allEnded(
    asked.map(({ _id }) => _id),
    60_000,
  );
  const ended = await user.requests.find({ status: { $nin: ['succeeded', 'coalesced'] } }).toArray();
  expect(ended).toEqual([]);
  expect(await user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });
  expect(await fleet.differences()).toEqual([]);
  for (const daemon of daemons) expect(await daemon.stop()).toEqual({ code: 0, signal: null });
});
