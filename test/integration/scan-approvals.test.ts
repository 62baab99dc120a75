// What the library tells about removals that are held, and how it approves them.
import mongoose from 'mongoose';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { startSimulator } from 'stripe-simulator';
import { Fault } from '../../src/base/errors.js';
import { StripeCustomerAction } from '../../src/customer-action.js';
import { ScanLease } from '../../src/requests/scan-lease.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase, ours } from '../support/database.js';

const retrieve = 'GET /v1/customers/{id}';

/** The face on a database of its own, and what it logs. */
async function actionOf(simulator: { url: string; restrictedKey: string }) {
  const database = freshDatabase();
  const connection = mongoose.createConnection();
  const lines: string[] = [];
  const action = await StripeCustomerAction.connect({
    connection,
    config: {
      stripe: {
        apiKey: simulator.restrictedKey,
        apiBase: simulator.url,
        callsPerSecond: 0,
        callsPerSecondPerEndpoint: 0,
      },
      mongodb: { uri: database.uri },
    },
    logger: pino({ level: 'info' }, { write: (line: string) => void lines.push(line) }),
  });
  atEnd(() => action.close());
  const said = (word: string): unknown[] =>
    lines.filter((line) => line.includes(word)).map((line) => JSON.parse(line) as unknown);
  return { action, connection, said };
}

test('removals that are held are told in the log, by the name under which they can be approved', async () => {
  const simulator = await startSimulator({ seed: { count: 400 } });
  atEnd(() => simulator.close());
  const { action, said } = await actionOf(simulator);
  await action.syncAll();
  for (const id of simulator.listIds().slice(0, 120)) simulator.delete(id);

  await action.syncAll({ dryRun: true });
  expect(said('held')).toEqual([]);
  await action.syncAll();

  const [line] = said('held') as { heldFor: string }[];
  expect(line).toMatchObject({ level: 40, removalsHeld: 120 });
  expect((await action.approveRemovals(line!.heldFor)).deleted).toBe(120);
});

describe('an approval by the library', () => {
  async function heldAccount() {
    const simulator = await startSimulator({ seed: { count: 400 } });
    atEnd(() => simulator.close());
    const { action, connection } = await actionOf(simulator);
    await action.syncAll();
    for (const id of simulator.listIds().slice(0, 120)) simulator.delete(id);
    await action.syncAll({ requestId: 'second' });
    return { simulator, action, connection };
  }

  test('has the lease on scans, so that no scan runs beside it', async () => {
    const { simulator, action, connection } = await heldAccount();
    const other = new ScanLease(ours(connection.db!), 'another process', 30_000);
    const held = simulator.hold({ endpoint: retrieve, when: 'before-compute' });

    const approving = action.approveRemovals('second');
    await held.arrived;
    expect(await other.acquire()).toBeUndefined();
    held.release();
    await approving;

    const right = await other.acquire();
    expect(right).toBeDefined();
    await other.release(right!);
  });

  test('ends without another mark when it loses that lease', async () => {
    const { simulator, action, connection } = await heldAccount();
    const held = simulator.hold({ endpoint: retrieve, when: 'before-compute' });
    const before = await connection.collection('stripe_customers').find().sort({ _id: 1 }).toArray();

    const approving = action
      .approveRemovals('second', {
        beforeWrite: () => {
          throw new Fault('lease_lost', 'Lost by the test', { kind: 'retryable' });
        },
      })
      .catch((error: unknown) => error);
    await held.arrived;
    held.release();

    expect(await approving).toMatchObject({ code: 'lease_lost' });
    expect(await connection.collection('stripe_customers').find().sort({ _id: 1 }).toArray()).toEqual(before);
    expect((await action.approveRemovals('second')).deleted).toBe(120);
  });

  test('on a dry run tells who would be marked, and leaves all as it is, so that it can still be made', async () => {
    const { action, connection } = await heldAccount();
    const states = connection.collection<{ _id: string }>('sync_state');
    const held = { _id: /^scan-(held|candidates|completed)/ as never };
    const before = await states.find(held).toArray();

    expect(await action.approveRemovals('second', { dryRun: true })).toMatchObject({ deleted: 120 });

    expect(await states.find(held).toArray()).toEqual(before);
    expect((await action.approveRemovals('second')).deleted).toBe(120);
  });
});

test('syncByIds says so when a full scan would take fewer calls', async () => {
  const simulator = await startSimulator({ seed: { count: 350 } });
  atEnd(() => simulator.close());
  const { action, said } = await actionOf(simulator);
  const ids = simulator.listIds();
  // Nothing is known of the account before its first scan.
  await action.syncByIds(ids.slice(0, 4));
  await action.syncAll();

  await action.syncByIds([...ids.slice(0, 4), ...ids.slice(0, 4)]);
  expect(said('full scan')).toEqual([]);
  await action.syncByIds(ids.slice(0, 5));

  expect(said('full scan')).toMatchObject([{ level: 30, calls: 5, scanCalls: 4 }]);
});
