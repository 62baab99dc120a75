// Collections under other names than the default ones: everything follows the settings, and a neighbour's collections under the default names
// are not touched.
import mongoose, { type mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { customerModel, requests, StripeCustomer, StripeCustomerAction } from '../../src/index.js';
import { atEnd } from '../support/cleanup.js';
import { callCommandLine } from '../support/cli.js';
import { startDaemon } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { startStripe } from '../support/library.js';

const names = { customers: 'crm.accounts', requests: 'crm-jobs', state: 'crm_state' } as const;
const variables = {
  MONGODB_COLLECTIONS_CUSTOMERS: names.customers,
  MONGODB_COLLECTIONS_REQUESTS: names.requests,
  MONGODB_COLLECTIONS_STATE: names.state,
};
const ours = [...Object.values(names), `${names.customers}_live`];
const theirs = ['stripe_customers', 'sync_requests', 'sync_state'];

/** Another application has collections under the default names. */
async function withNeighbour(): Promise<FreshDatabase> {
  const database = freshDatabase();
  for (const name of theirs)
    await database.db.collection(name).insertOne({ plan: 'gold', status: 'pending' });
  return database;
}

const collectionsOf = async ({ db }: FreshDatabase): Promise<string[]> =>
  (await db.listCollections().toArray())
    .map(({ name }) => name)
    .filter((name) => name !== 'system.views')
    .sort();

async function everythingOfNeighbour({ db }: FreshDatabase): Promise<unknown> {
  return Promise.all(
    theirs.map(async (name) => ({
      documents: await db.collection(name).find().toArray(),
      indexes: await db.collection(name).indexes(),
      options: await db.listCollections({ name }).toArray(),
    })),
  );
}

const jobsOf = ({ db }: FreshDatabase): mongo.Collection => db.collection(names.requests);

describe('other names of the collections', () => {
  test('hold for the daemon, its metrics and the command line', async () => {
    const database = await withNeighbour();
    const before = await everythingOfNeighbour(database);
    const simulator = await startStripe({ seed: { count: 6 } });
    const first = simulator.create({});
    const cli = (...args: string[]) => callCommandLine(args, { MONGODB_URI: database.uri, ...variables });
    const daemon = startDaemon(database, simulator, variables);
    await daemon.ready();

    const scan = await cli('sync-all', '--json');
    const byId = await requests.insert(
      database.db,
      { command: 'syncByIds', ids: [first.id] },
      { collection: names.requests },
    );
    const ended = await requests.result(database.db, byId, { collection: names.requests, timeoutMs: 30_000 });
    const mark = await cli('soft-delete', first.id, '--json');
    const status = JSON.parse((await cli('status', '--json')).stdout) as object;
    const listed = await cli('requests', 'list', '--json');
    const samples = await daemon.samples();
    await daemon.stop();

    expect(JSON.parse(scan.stdout)).toMatchObject({ status: 'succeeded', result: { created: 7 } });
    expect(ended).toMatchObject({ status: 'succeeded', result: { unchanged: 1 } });
    expect(JSON.parse(mark.stdout)).toMatchObject({ status: 'succeeded', result: { deleted: 1 } });
    expect(status).toMatchObject({ mirror: { customer: { live: 6, deleted: 1 } } });
    expect(JSON.parse(listed.stdout)).toHaveLength(3);
    expect(samples.get('stripe_sync_mirror_objects{object="customer",state="live"}')).toBe(6);
    expect(await database.db.collection(`${names.customers}_live`).countDocuments()).toBe(6);
    expect((await jobsOf(database).indexes()).map(({ name }) => name)).toContain('dedupeKey');
    expect(await collectionsOf(database)).toEqual([...ours, ...theirs].sort());
    expect(await everythingOfNeighbour(database)).toEqual(before);
  });

  test('hold for migrate, and for the advice of bind --reset', async () => {
    const database = await withNeighbour();
    const env = { MONGODB_URI: database.uri, ...variables };
    const simulator = await startStripe({ seed: { count: 2 } });

    const { stdout } = await callCommandLine(['migrate'], env);
    const fault = await callCommandLine(['sync-all', '--in-process'], {
      ...env,
      STRIPE_API_KEY: simulator.key,
      STRIPE_API_BASE: simulator.url,
      MONGODB_AUTO_MIGRATE: 'false',
    });
    const reset = await callCommandLine(['bind', '--reset', '--yes'], env);

    for (const name of ours) expect(stdout).toContain(name);
    for (const name of theirs) expect(stdout).not.toContain(name);
    expect(fault).toMatchObject({ code: 0 });
    expect(reset.stdout).toContain(`db.getCollection("${names.customers}").deleteMany(`);
  });

  test('hold for the library, and customerModel reads the mirror on its connection', async () => {
    const database = await withNeighbour();
    const simulator = await startStripe({ seed: { count: 2 } });
    const { id } = simulator.create({});
    const connection = mongoose.createConnection();
    const action = await StripeCustomerAction.connect({
      connection,
      config: {
        stripe: { apiKey: simulator.restrictedKey, apiBase: simulator.url, callsPerSecond: 0 },
        mongodb: { uri: database.uri, collections: names },
      },
    });
    atEnd(() => action.close());

    const result = await action.syncAll();

    expect(result).toMatchObject({ created: 3 });
    const Account = customerModel(names.customers, connection);
    expect(await Account.find().live().countDocuments()).toBe(3);
    expect(Account.modelName).toBe('StripeCustomer');
    expect(customerModel(names.customers, connection)).toBe(Account);
    expect(StripeCustomer.collection.collectionName).toBe('stripe_customers');
    const Owner = connection.model(
      'Owner',
      new mongoose.Schema({ account: { type: String, ref: 'StripeCustomer' } }),
    );
    await Owner.create({ account: id });
    expect(await Owner.findOne().populate('account')).toMatchObject({ account: { _id: id } });
  });
});
