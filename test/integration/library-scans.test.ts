// Scans of the library: one at a time on a database, ended by a signal or by the loss of the lease.
import { describe, expect, test } from 'vitest';
import { liveIds } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { connect, faultOf, listCalls, startStripe } from '../support/library.js';
import { until } from '../support/until.js';

describe('a scan', () => {
  const isPage = ({ status }: { status: number | undefined }): boolean => status === 200;

  test('ends with the reason of an abort, and one of the same name goes on', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 3_000 }, latency: { ms: 40 } });
    const { action } = await connect(database, simulator);
    const abort = new AbortController();
    const reason = new Error('Enough for today');
    const requestId = 'nightly';

    const first = action.syncAll({ signal: abort.signal, requestId }).catch((error: unknown) => error);
    await until(() => listCalls(simulator).filter(isPage).length >= 12, {
      what: 'some pages',
      intervalMs: 5,
    });
    abort.abort(reason);
    expect(await first).toBe(reason);
    const stored = await database.db.collection('stripe_customers').countDocuments();
    expect(stored).toBeGreaterThan(0);
    expect(stored).toBeLessThan(3_000);

    const result = await action.syncAll({ requestId });

    // Begun anew it would have found unchanged ones.
    expect(result).toMatchObject({ created: 3_000, unchanged: 0, failed: 0 });
    expect(await database.db.collection('stripe_customers').countDocuments()).toBe(3_000);
  });

  test('waits for another one on the same database', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 500 }, latency: { ms: 20 } });
    const keys = ['rk_test_oneaaaa', 'rk_test_twobbbb'];
    const actions = await Promise.all(
      keys.map(async (key) => {
        simulator.addKey(key);
        return (await connect(database, simulator, { key })).action;
      }),
    );

    const results = await Promise.all(actions.map((action) => action.syncAll()));

    expect(results.map(({ created, unchanged }) => [created, unchanged]).sort()).toEqual([
      [0, 500],
      [500, 0],
    ]);
    const order = listCalls(simulator).map(({ keySuffix }) => keySuffix);
    const turns = order.filter((suffix, index) => suffix !== order[index - 1]);
    expect(turns).toHaveLength(2);
  });

  test('waits no longer than its signal allows', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 5 } });
    const { action } = await connect(database, simulator);
    const { action: other } = await connect(database, simulator);
    const held = simulator.hold({ endpoint: 'GET /v1/customers', when: 'before-compute' });
    const first = action.syncAll();
    await held.arrived;
    const reason = new Error('No time');
    const abort = new AbortController();
    const waiting = other.syncAll({ signal: abort.signal }).catch((error: unknown) => error);

    abort.abort(reason);

    expect(await waiting).toBe(reason);
    held.release();
    expect(await first).toMatchObject({ created: 5 });
  });

  test('gives up when its lease cannot be renewed, as somebody else may scan by then', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 5 } });
    const { action } = await connect(database, simulator, { requests: { leaseMs: 600 } });
    const held = simulator.hold({ endpoint: 'GET /v1/customers', when: 'before-compute' });
    const scanning = faultOf(action.syncAll());
    await held.arrived;
    const failpoint = await database.failCommand({ failCommands: ['update'], errorCode: 50 });
    await until(async () => (await failpoint.timesEntered()) >= 5, {
      what: 'more renewals than fit into a lease',
    });
    await failpoint.off();
    held.release();

    expect(await scanning).toMatchObject({ code: 'lease_lost', kind: 'retryable' });
    await action.syncAll();
    expect(await liveIds(database.db)).toEqual(simulator.listIds().sort());
  });
});

test('a scan that stood still for longer than its lease writes nothing any more, as somebody else may scan by then', async () => {
  const database = freshDatabase();
  const simulator = await startStripe({ seed: { count: 5 } });
  const leaseMs = 1_000;
  const { action } = await connect(database, simulator, { requests: { leaseMs } });
  /** Right before its first write, and no timer can tell of it. */
  const standStill = (): void => {
    const wakesUpAt = performance.now() + leaseMs;
    while (performance.now() < wakesUpAt);
  };

  const scanning = faultOf(action.syncAll({ beforeWrite: standStill }));

  expect(await scanning).toMatchObject({ code: 'lease_lost', kind: 'retryable' });
  expect(await database.db.collection('stripe_customers').countDocuments()).toBe(0);
  expect(await action.syncAll()).toMatchObject({ created: 5 });
});
