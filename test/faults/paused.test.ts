// A replica that stands still for longer than its lease, and then wakes up with what it held: it changes nothing any more.
import { expect, test } from 'vitest';
import { callCommandLine } from '../support/cli.js';
import { said } from '../support/daemon.js';
import { openFleet } from '../support/fleet.js';
import { keepJournal } from '../support/journal.js';
import { until } from '../support/until.js';

/** Longer than a busy machine pauses by itself. */
const leaseMs = 5_000;
const settings = { REQUESTS_LEASE_MS: String(leaseMs) };
const isLost = said('Another process holds the request now; nothing was written');

test('a daemon paused for longer than its lease ends nothing when it wakes up, and sets no customer back in time', async () => {
  const fleet = await openFleet({ simulated: { seed: { count: 3 } }, settings });
  const { simulator, user, db } = fleet;
  const [id = ''] = simulator.listIds();
  const journal = await keepJournal(user.requests);
  const paused = await fleet.start();
  await user.run({ command: 'syncAll' });
  simulator.update(id, { metadata: { version: '1' } });
  const held = simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'after-compute' });
  const [request] = await user.insert({ command: 'syncByIds', ids: [id] });
  await held.arrived;

  await paused.freeze();
  held.release(); // what it will read when it wakes up
  simulator.update(id, { metadata: { version: '2' } });
  const other = await fleet.start();
  const ended = await user.ended(request!);
  expect(ended).toMatchObject({ status: 'succeeded', result: { updated: 1 } });
  expect(ended['lease']).not.toMatchObject({ fence: 1 });
  paused.thaw();
  await paused.waitForLine(isLost, { what: 'the loss of its request', timeoutMs: 30_000 });

  expect(await user.requests.findOne({ _id: request! })).toEqual(ended);
  expect((await journal.ends()).get(String(request))).toEqual(['succeeded']);
  expect(await db.collection<{ _id: string }>('stripe_customers').findOne({ _id: id })).toMatchObject({
    metadata: { version: '2' },
  });
  expect(await fleet.differences()).toEqual([]);
  // It works on: the pause has cost it one request.
  await other.stop();
  expect(await user.run({ command: 'syncByIds', ids: [id] })).toMatchObject({ status: 'succeeded' });
  expect(await paused.stop()).toEqual({ code: 0, signal: null });
});

test('a daemon paused in the middle of a scan neither ends it nor moves its checkpoint when it wakes up', async () => {
  const fleet = await openFleet({
    simulated: { seed: { count: 1_500, distribution: 'growth' }, latency: { ms: 20 } },
    settings: { ...settings, STRIPE_MAX_IN_FLIGHT: '2' },
  });
  const { simulator, user, db } = fleet;
  const journal = await keepJournal(user.requests);
  const paused = await fleet.start();
  const held = [7, 8].map((skip) =>
    simulator.hold({ endpoint: 'GET /v1/customers', when: 'after-compute', skip }),
  );
  const [scan] = await user.insert({ command: 'syncAll' });
  await Promise.all(held.map(({ arrived }) => arrived));
  // Nothing but the two answers is under way, so that none of its writes is on its way to MongoDB when it is stopped.
  let mirrored = 0;
  await until(
    async () => mirrored === (mirrored = await db.collection('stripe_customers').countDocuments()),
    {
      what: 'the pages before to be mirrored',
      intervalMs: 500,
    },
  );

  await paused.freeze();
  for (const { release } of held) release();
  simulator.updateRandom(200);
  simulator.deleteRandom(20);
  await fleet.start();
  const ended = await user.ended(scan!);
  expect(ended).toMatchObject({ status: 'succeeded' });
  expect(ended['lease']).not.toMatchObject({ fence: 1 });
  expect((ended['startedAt'] as Date).getTime()).toBeGreaterThan(
    scan!.getTimestamp().getTime() + leaseMs - 1_000,
  );
  // Changes behind the cursor of the first holder are for the next scan.
  expect(await user.run({ command: 'syncAll' })).toMatchObject({ status: 'succeeded' });
  paused.thaw();
  await paused.waitForLine(isLost, { what: 'the loss of its request', timeoutMs: 30_000 });

  expect(await user.requests.findOne({ _id: scan! })).toEqual(ended);
  expect((await journal.ends()).get(String(scan))).toEqual(['succeeded']);
  expect(await fleet.differences()).toEqual([]);
});

test('a daemon paused while its database is bound to another account writes nothing of its own, and ends', async () => {
  const fleet = await openFleet({ simulated: { seed: { count: 3 } }, settings });
  const { simulator, user, db, uri } = fleet;
  const [id = ''] = simulator.listIds();
  const paused = await fleet.start();
  await user.run({ command: 'syncAll' });
  const held = simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'after-compute' });
  const [request] = await user.insert({ command: 'syncByIds', ids: [id] });
  await held.arrived;
  await paused.freeze();
  simulator.update(id, { name: 'of the former account' });
  held.release();

  // Its heartbeats are long past, as after a pause of a minute.
  const states = db.collection<{ _id: string }>('sync_state');
  await states.updateMany({ _id: /^replica:/ }, { $set: { seenAt: new Date(Date.now() - 60_000) } });
  await until(
    async () => (await callCommandLine(['bind', '--reset', '--yes'], { MONGODB_URI: uri })).code === 0,
    {
      what: 'the leases of the paused one to run out',
    },
  );
  const other = simulator.account('acct_1Other');
  other.test.create({ id, name: 'of the other account' });
  const next = await fleet.start({ STRIPE_API_KEY: other.keys.restrictedTest });
  await user.run({ command: 'syncAll' });
  const before = await db.collection('stripe_customers').find().toArray();
  await next.stop();
  const [later] = await user.insert({ command: 'syncByIds', ids: [id] });
  paused.thaw();

  expect(await paused.exit).toMatchObject({ code: 1 });
  expect(await db.collection('stripe_customers').find().toArray()).toEqual(before);
  expect(await user.requests.findOne({ _id: later! })).not.toHaveProperty('finishedAt');
  expect((await user.requests.findOne({ _id: request! }))?.['status']).toBe('succeeded');
  expect(JSON.stringify(paused.errors())).toContain('account_mismatch');
});
