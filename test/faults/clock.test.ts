// MongoDB's clock moves, as NTP, a restored snapshot, a failover or a suspended machine move it: every later change at Stripe still
// arrives, and the daemon says that the clock moved.
import { describe, expect, test } from 'vitest';
import { createMongoClock } from '../../src/mongo/clock.js';
import { type Daemon, countsOf } from '../support/daemon.js';
import { libfaketime, type SetOfClocks, startSetOfClocks } from '../support/faketime.js';
import { databaseAt, type Fleet, openFleet } from '../support/fleet.js';
import type { AnyDocument } from '../support/requests.js';
import { until } from '../support/until.js';

const hour = 3_600;
const customers = 100;

/** Each call to Stripe is dated by a reading of its own, which comes with its slot; no rate makes it wait. */
const settings = { STRIPE_MONTHLY_READ_ALLOWANCE: '1000000' };

async function openAt(seconds: number, count = customers): Promise<{ set: SetOfClocks; fleet: Fleet }> {
  const set = await startSetOfClocks();
  await set.setClock(seconds);
  const fleet = await openFleet({
    simulated: { seed: { count } },
    settings,
    database: databaseAt(set.uriFor('stripe')),
  });
  return { set, fleet };
}

/** Changes every customer at Stripe. */
function changeAll({ simulator }: Fleet, name: string): string[] {
  const ids = simulator.listIds();
  for (const id of ids) simulator.update(id, { name });
  return ids;
}

/** Changes every customer; all changes arrive by ids, then by a scan. */
async function expectAllArrive(fleet: Fleet): Promise<void> {
  const { user } = fleet;
  const ids = changeAll(fleet, 'by ids');
  expectApplied(await user.run({ command: 'syncByIds', ids }), ids.length);
  expect(await fleet.differences()).toEqual([]);

  changeAll(fleet, 'by a scan');
  expectApplied(await user.run({ command: 'syncAll' }), ids.length);
  expect(await fleet.differences()).toEqual([]);
}

/** None is stale. An attempt that lost its lease, as after a failover, has done its part: the next one finds it. */
function expectApplied(request: AnyDocument, count: number): void {
  const { created, updated, unchanged, stale, failed } = request['result'] as Record<string, number>;
  expect({ status: request['status'], created, stale, failed }).toEqual({
    status: 'succeeded',
    created: 0,
    stale: 0,
    failed: 0,
  });
  expect(updated! + unchanged!).toBe(count);
}

/** It warns, and a metric counts. */
async function expectTold(daemon: Daemon): Promise<void> {
  const warnings = daemon.logs().filter(({ level, msg }) => level === 'warn' && /clock/i.test(msg));
  const counted = [...(await daemon.samples())].filter(([name, value]) => /clock/.test(name) && value > 0);
  expect(warnings).not.toEqual([]);
  expect(counted).not.toEqual([]);
}

describe.skipIf(libfaketime === undefined)("MongoDB's clock", () => {
  test('moves, forward and back: the next reading shows it', async () => {
    const set = await startSetOfClocks();
    const moves: number[] = [];
    const clock = createMongoClock(databaseAt(set.uriFor('stripe')).db, {
      clockMoved: (seconds) => void moves.push(seconds),
    });
    await clock.interval();

    for (const [index, seconds] of [-2, 0, 3_600, -3_600].entries()) {
      await set.setClock(seconds);
      await until(() => clock.interval().then(() => moves.length > index), { what: 'the next reading' });
      const { earliest, latest } = await clock.interval();
      expect(earliest.getTime()).toBeLessThan(Date.now() + seconds * 1_000 + 500);
      expect(latest.getTime()).toBeGreaterThan(Date.now() + seconds * 1_000 - 500);
    }

    expect(moves).toEqual([-2, 2, 3_600, -7_200].map((by) => expect.closeTo(by, 0) as number));
  });

  test('was an hour ahead, and is right again: every later change arrives, and it is told', async () => {
    const { set, fleet } = await openAt(hour);
    const daemon = await fleet.start();
    expect(countsOf(await fleet.user.run({ command: 'syncAll' }))).toEqual({ created: customers });

    await set.setClock(0);

    await expectAllArrive(fleet);
    await expectTold(daemon);
  });

  test('was an hour ahead, and is right again when the daemon starts: every later change arrives, and it is told', async () => {
    const { set, fleet } = await openAt(hour);
    const before = await fleet.start();
    expect(countsOf(await fleet.user.run({ command: 'syncAll' }))).toEqual({ created: customers });
    await before.stop();

    await set.setClock(0);

    const daemon = await fleet.start();
    await expectAllArrive(fleet);
    await expectTold(daemon);
  });

  test('steps back by 2 s between two reads, five times: the newer one stays', async () => {
    const { set, fleet } = await openAt(0, 1);
    const { simulator, user } = fleet;
    const [id] = simulator.listIds();
    await fleet.start();
    const read = async (name: string) => {
      simulator.update(id!, { name });
      return countsOf(await user.run({ command: 'syncByIds', ids: [id!] }));
    };
    await read('at first');

    const seen: unknown[] = [];
    for (let step = 1; step <= 5; step += 1) {
      await read(`before step ${step}`);
      await set.setClock(-2 * step);
      const counts = await read(`after step ${step}`);
      seen.push([counts, await fleet.differences()]);
    }

    expect(seen).toEqual(Array.from({ length: 5 }, () => [{ updated: 1 }, []]));
  });

  test.each([-60, 60])(
    'steps by %i s while a retrieve is on its way: it does not undo a newer one',
    async (seconds) => {
      const { set, fleet } = await openAt(0, 1);
      const { simulator, user } = fleet;
      const [id] = simulator.listIds();
      await Promise.all([fleet.start(), fleet.start()]);
      await user.run({ command: 'syncAll' });

      simulator.update(id!, { name: 'older' });
      const held = simulator.hold({ endpoint: 'GET /v1/customers/{id}', when: 'after-compute' });
      const [slow] = await user.insert({ command: 'syncByIds', ids: [id!] });
      await held.arrived;
      await set.setClock(seconds);
      simulator.update(id!, { name: 'newer' });
      // A step forward ends the lease of the slow one: the other replica may make it again, and before the quick one.
      expect(await user.run({ command: 'syncByIds', ids: [id!] })).toMatchObject({ status: 'succeeded' });
      expect(await fleet.differences()).toEqual([]);
      held.release();

      expect(await user.ended(slow!)).toMatchObject({ status: 'succeeded' });
      expect(await fleet.differences()).toEqual([]);
    },
  );

  test('steps back by 20 s under two replicas: every later change arrives', async () => {
    const { set, fleet } = await openAt(0);
    await Promise.all([fleet.start(), fleet.start()]);
    await fleet.user.run({ command: 'syncAll' });

    await set.setClock(-20);

    await expectAllArrive(fleet);
  });

  test('jumps an hour ahead, as after a suspend, and stays there: every later change arrives, and it is told', async () => {
    const { set, fleet } = await openAt(0);
    const daemon = await fleet.start();
    await fleet.user.run({ command: 'syncAll' });

    await set.setClock(hour);

    await expectAllArrive(fleet);
    await expectTold(daemon);
  });
});
