// The library as applications use it: its methods and their outcomes, its model, and what it opens and leaves alone.
import mongoose, { type mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { StripeCustomer, StripeCustomerAction } from '../../src/index.js';
import { atEnd } from '../support/cleanup.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { connect, faultOf, listCalls, startStripe } from '../support/library.js';
import { startProcess } from '../support/process.js';

/** Everything that is in the database. */
async function contentOf({ db }: FreshDatabase): Promise<Record<string, mongo.Document[]>> {
  const names = ['stripe_customers', 'sync_requests', 'sync_state'];
  const found = await Promise.all(
    names.map(async (name) => [name, await db.collection(name).find().sort({ _id: 1 }).toArray()] as const),
  );
  return Object.fromEntries(found);
}

/** Runs a script of test/support/fixtures to its own end; what it told, by name. */
async function runScript(
  name: string,
  args: string[],
  env: Record<string, string>,
): Promise<Record<string, unknown>> {
  const script = startProcess({ entry: `test/support/fixtures/${name}.process.ts`, args, env });
  await script.waitForLine(({ json }) => json?.['what'] === 'closed', { what: 'its last word' });
  const closedAt = performance.now();
  expect(await script.exit).toEqual({ code: 0, signal: null });
  // Nothing that was left open kept it alive: it has no process.exit.
  expect(performance.now() - closedAt).toBeLessThan(1_000);
  expect(script.lines.filter(({ stream }) => stream === 'stderr')).toEqual([]);
  return Object.fromEntries(
    script.lines.flatMap(({ json }) => (json ? [[String(json['what']), json['found']]] : [])),
  );
}

describe('in a process of its own', () => {
  test('it connects from the environment, does all there is to do, and lets the process end', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 150 } });
    const [first, second] = simulator.listIds() as [string, string];

    const told = await runScript('script', [first, second], {
      STRIPE_API_KEY: simulator.restrictedKey,
      STRIPE_API_BASE: simulator.url,
      MONGODB_URI: database.uri,
    });

    expect(told).toMatchObject({
      syncAll: { created: 150, updated: 0, unchanged: 0, deleted: 0, stale: 0, failed: 0, items: [] },
      syncByIds: { unchanged: 1, failed: 1 },
      syncBatch: { updated: 1, items: [{ id: first, outcome: 'updated' }] },
      sync: { id: first, outcome: 'updated' },
      softDelete: { id: second, outcome: 'deleted' },
      live: 149,
      first: { _id: first, metadata: { tier: 'silver' } },
    });
  });

  test("it works on the application's own connection, whose models refer to customers, and leaves it open", async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 3 } });
    const { id } = simulator.create({ email: 'jane@example.com', metadata: { 'a.b': '$x' } });

    const told = await runScript('application', [database.uri, id], {
      STRIPE_API_KEY: simulator.restrictedKey,
      STRIPE_API_BASE: simulator.url,
    });

    expect(told).toMatchObject({
      populated: 'jane@example.com',
      save: expect.stringMatching(/^Error: The mirror is written by stripe-mongo-sync alone/) as string,
      create: expect.stringMatching(/^Error: The mirror is written by stripe-mongo-sync alone/) as string,
      sync: { id, outcome: 'updated' },
      synced: { name: 'Changed', app: { plan: 'gold' } },
      connection: mongoose.ConnectionStates.connected,
      orders: 1,
    });
    expect(await database.db.collection('orders').countDocuments()).toBe(1);
  });
});

describe('an action', () => {
  test('is named after what it is the action of', () => {
    expect(StripeCustomerAction.modelClass).toBe(StripeCustomer);
    expect(StripeCustomerAction.stripeObjectClass).toBe('customer');
    expect(StripeCustomer.collection.name).toBe('stripe_customers');
  });

  test('gives an outcome for everything that can become of a customer', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 20 } });
    const [first, second, third] = simulator.listIds() as [string, string, string];
    const { action, customers } = await connect(database, simulator);

    expect(await action.syncAll()).toMatchObject({ created: 20, failed: 0 });
    simulator.update(first, { name: 'Changed' });
    simulator.delete(second);
    const byIds = await action.syncByIds([first, second, third, 'cus_unknown', first]);
    expect([...byIds.items].sort((a, b) => a.id.localeCompare(b.id))).toEqual(
      [
        { id: first, outcome: 'updated' },
        { id: second, outcome: 'deleted' },
        { id: third, outcome: 'unchanged' },
        {
          id: 'cus_unknown',
          outcome: 'failed',
          code: 'not_in_account',
          message: expect.any(String) as string,
        },
      ].sort((a, b) => a.id.localeCompare(b.id)),
    );
    expect(await action.syncAll()).toMatchObject({ unchanged: 19, deleted: 0, failed: 0 });
    expect(await action.softDelete(third)).toEqual({ id: third, outcome: 'deleted' });
    expect(await action.softDelete(third)).toEqual({ id: third, outcome: 'unchanged' });
    expect(await action.softDelete('cus_unknown')).toMatchObject({ outcome: 'failed', code: 'not_found' });
    expect(await action.sync({ id: second, name: 'Back' })).toMatchObject({
      outcome: 'stale',
      code: 'deleted_in_stripe',
    });
    expect(await customers.find().live().countDocuments()).toBe(18);
    expect(await customers.countDocuments()).toBe(20);
    expect(simulator.writes).toBe(0);
  });

  test('syncs one customer as it syncs a batch of it', async () => {
    const simulator = await startStripe();
    const whole = simulator.create({ email: 'jane@example.com' });
    const held: object[] = [
      whole,
      { ...whole, name: 'Changed' },
      { id: whole.id, metadata: { a: 'b' } },
      { id: whole.id, metadata: { a: 'b' } },
      { ...whole, livemode: true },
      { id: '' },
      { id: whole.id, deleted: true },
    ];
    const [one, batch] = [freshDatabase(), freshDatabase()];
    const { action: ones } = await connect(one, simulator);
    const { action: batches } = await connect(batch, simulator);

    for (const each of held) {
      expect([await ones.sync(each)]).toEqual((await batches.syncBatch([each])).items);
    }

    const stored = async ({ db }: FreshDatabase) =>
      db
        .collection('stripe_customers')
        .find({}, { projection: { _sync: 0 } })
        .toArray();
    expect(await stored(one)).toEqual(await stored(batch));
    expect(await stored(one)).toMatchObject([{ name: 'Changed', metadata: { a: 'b' } }]);
    expect(listCalls(simulator)).toEqual([]);
    expect(simulator.stats.calls['GET /v1/customers/{id}'] ?? 0).toBe(0);
  });

  test('on a dry run tells what would become of it and changes nothing', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 250 } });
    const { action } = await connect(database, simulator);
    await action.syncAll();
    const [first, second, third] = simulator.listIds() as [string, string, string];
    simulator.update(first, { name: 'Changed' });
    simulator.delete(second);
    const { id: added } = simulator.create({ created: simulator.clock.seconds() - 3_600 });
    const before = await contentOf(database);
    const dryRun = true;

    expect(await action.syncAll({ dryRun })).toMatchObject({
      created: 1,
      updated: 1,
      deleted: 1,
      unchanged: 248,
    });
    expect(await action.syncByIds([first, added], { dryRun })).toMatchObject({ updated: 1, created: 1 });
    expect(await action.syncBatch([{ id: third, name: 'Held' }], { dryRun })).toMatchObject({ updated: 1 });
    expect(await action.sync({ id: third, name: 'Held' }, { dryRun })).toMatchObject({ outcome: 'updated' });
    expect(await action.softDelete(third, { dryRun })).toMatchObject({ outcome: 'deleted' });

    const after = await contentOf(database);
    expect(after['stripe_customers']).toEqual(before['stripe_customers']);
    // Its calls to Stripe are calls like any other: they are counted, within a second.
    const lasting = (content: typeof before) =>
      content['sync_state']?.filter(({ _id }) => !/^(scan-lease|rate-limiter)/.test(String(_id)));
    expect(lasting(after)).toEqual(lasting(before));
  });

  test('asks nobody for an id that is none', async () => {
    const simulator = await startStripe();
    const { action } = await connect(freshDatabase(), simulator);
    const calls = simulator.requests.length;

    for (const id of ['', 'cus_1\0', 'cus_\ud800', 'c'.repeat(256), { $gt: '' } as unknown as string]) {
      expect(await faultOf(action.syncByIds(['cus_1', id]))).toMatchObject({
        code: 'invalid_id',
        kind: 'terminal',
      });
      expect(await faultOf(action.softDelete(id))).toMatchObject({ code: 'invalid_id', kind: 'terminal' });
    }

    expect(simulator.requests).toHaveLength(calls);
  });

  test('asks MongoDB for the majority and the primary, whatever the connection was opened with', async () => {
    const { uri } = freshDatabase();
    const simulator = await startStripe({ seed: { count: 120 } });
    const connection = mongoose.createConnection(uri, {
      w: 1,
      readPreference: 'secondaryPreferred',
      monitorCommands: true,
    });
    await connection.asPromise();
    atEnd(() => connection.close());
    const commands: mongo.Document[] = [];
    const { action } = await connect({ uri }, simulator, { connection });
    connection
      .getClient()
      .on('commandStarted', ({ command }: mongo.CommandStartedEvent) => commands.push(command));

    await action.syncAll();
    await action.syncBatch([{ id: simulator.listIds()[0], name: 'Held' }]);
    await action.softDelete(String(simulator.listIds()[1]));

    const sent = (names: readonly string[], told: (command: mongo.Document) => unknown) =>
      commands.flatMap((command) => {
        const name = names.find((each) => each in command);
        return name === undefined ? [] : [`${name} ${String(command[name])}: ${String(told(command))}`];
      });
    const writes = sent(['insert', 'update', 'delete', 'findAndModify'], ({ writeConcern }) => {
      return (writeConcern as { w?: unknown } | undefined)?.w;
    });
    expect(writes.length).toBeGreaterThan(5);
    expect(writes.filter((write) => !write.endsWith(': majority'))).toEqual([]);
    const reads = sent(['find', 'aggregate', 'count'], ({ $readPreference: preference }) => {
      return (preference as { mode?: unknown } | undefined)?.mode;
    });
    expect(reads.length).toBeGreaterThan(2);
    expect(reads.filter((read) => !/: (primary|undefined)$/.test(read))).toEqual([]);
    await action.close();
    expect(connection.readyState).toBe(mongoose.ConnectionStates.connected);
  });
});
