import { mongo } from 'mongoose';
import { beforeAll, describe, expect, it } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { type CommandRun, runCommandLine } from '../support/cli.js';
import { freshDatabase } from '../support/database.js';
import { startProcess } from '../support/process.js';

const database = freshDatabase();
let simulator: StripeSimulator;
let env: Record<string, string>;

/** The commands are not given the Stripe key: only the daemon needs it. */
const run = (args: string[], input?: string): Promise<CommandRun> =>
  runCommandLine(args, {
    env: { MONGODB_URI: env['MONGODB_URI'] ?? '' },
    ...(input !== undefined && { input }),
  });

const mirrored = (id: string) =>
  database.db.collection<{ _id: string; [field: string]: unknown }>('stripe_customers').findOne({ _id: id });

const documentOf = (stdout: string) =>
  JSON.parse(stdout) as Record<string, unknown> & { result: mongo.Document };

beforeAll(async () => {
  simulator = await startSimulator({ seed: { count: 250 } });
  atEnd(() => simulator.close());
  env = {
    MONGODB_URI: database.uri,
    STRIPE_API_BASE: simulator.url,
    STRIPE_API_KEY: simulator.restrictedKey,
    STRIPE_CALLS_PER_SECOND: '0',
    STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: '0',
    SYNC_ALL_SCHEDULE: '',
    HTTP_PORT: '0',
  };
  const daemon = startProcess({ args: ['run'], env });
  await daemon.waitForLine(({ json }) => json?.['msg'] === 'Started', { what: 'the start of the daemon' });
});

describe('a command that makes a request, beside a daemon', () => {
  it('follows a full scan and prints what became of it', async () => {
    const { code, stdout, stderr } = await run(['sync-all']);

    expect(code).toBe(0);
    expect(stdout).toMatch(/^syncAll succeeded in .* s \(request [0-9a-f]{24}\)\n/);
    const [names = '', counts = ''] = stdout.split('\n').slice(1);
    expect(names.trim().split(/ +/)).toEqual([
      'created',
      'updated',
      'unchanged',
      'deleted',
      'stale',
      'failed',
    ]);
    expect(counts.trim().split(/ +/)).toEqual(['250', '0', '0', '0', '0', '0']);
    expect(stderr).toMatch(/^Inserted request [0-9a-f]{24} \(syncAll\)/);
  });

  it('ends with 1 when some failed, and names each with its reason', async () => {
    const [known = ''] = simulator.listIds();

    const { code, stdout } = await run(['sync-by-ids', known, 'cus_nobody', known]);

    expect(code).toBe(1);
    expect(stdout).toMatch(/^syncByIds partial /);
    expect(stdout).toContain('  failed:\n    cus_nobody  not_in_account  ');
  });

  it('prints the final document and nothing else with --json', async () => {
    const { id } = simulator.create({ name: 'Jane Canary', email: 'jane.canary@example.com' });

    const { code, stdout, stderr } = await run(['sync-by-ids', id, '--json']);

    expect(code).toBe(0);
    expect(documentOf(stdout)).toMatchObject({
      command: 'syncByIds',
      ids: [id],
      requestedBy: 'cli',
      status: 'succeeded',
      result: { created: 1, failed: 0, items: [{ id, outcome: 'created' }] },
    });
    expect(documentOf(stdout)['finishedAt']).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
    expect(`${stdout}${stderr}`).not.toMatch(/canary/i);
  });

  it('writes nothing with --dry-run, and says so', async () => {
    const { id } = simulator.create();

    const { code, stdout } = await run(['sync-by-ids', id, '--dry-run']);

    expect(code).toBe(0);
    expect(stdout).toContain('a dry run: nothing was written');
    expect(await mirrored(id)).toBeNull();
  });

  it('marks a customer as deleted', async () => {
    const { id } = simulator.create();
    await run(['sync-by-ids', id]);

    const { code } = await run(['soft-delete', id]);

    expect(code).toBe(0);
    expect((await mirrored(id))?.['_sync']).toMatchObject({ deletedBy: 'request' });
  });

  it('splits a long batch from standard input into several requests and follows them together', async () => {
    const calls = simulator.requests.length;
    const customers = Array.from({ length: 2_100 }, (_, index) => ({
      id: `cus_batch_${index}`,
      object: 'customer',
      created: 1_700_000_000 + index,
      livemode: index === 2_050,
      email: `canary${index}@example.com`,
    }));

    const { code, stdout, stderr } = await run(
      ['sync-batch', '-', '--json'],
      customers.map((customer) => JSON.stringify(customer)).join('\n'),
    );

    expect(code).toBe(1);
    const documents = stdout.split('\n').map(documentOf);
    expect(documents.map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'partial']);
    expect(documents.map(({ result }) => result['created'] as number)).toEqual([1_000, 1_000, 99]);
    expect(documents.flatMap(({ batch }) => batch)).toEqual(customers.map(({ id }) => id));
    expect(stderr).toContain('Inserted 3 requests (syncBatch)');
    expect(`${stdout}${stderr}`).not.toContain('canary');
    expect(simulator.requests).toHaveLength(calls);
    expect(await mirrored('cus_batch_2099')).toMatchObject({ email: 'canary2099@example.com' });
  });

  it('does not let a batch of the past overwrite what is newer', async () => {
    const { id } = simulator.create({ name: 'new' });
    await run(['sync-by-ids', id]);

    const { stdout } = await run(
      ['sync-batch', '-', '--observed-at', '2026-01-01', '--json'],
      JSON.stringify({ ...simulator.get(id), name: 'old' }),
    );

    expect(documentOf(stdout).result).toMatchObject({ stale: 1, updated: 0 });
    expect(await mirrored(id)).toMatchObject({ name: 'new' });
  });

  it('takes a customer whose keys look like a type of BSON, and refuses a key with NUL by name', async () => {
    const odd = {
      id: 'cus_odd_keys',
      object: 'customer',
      created: 1_700_000_000,
      livemode: false,
      metadata: { _bsontype: 'ObjectId', 'a.b': '1', $x: '2', '': '3' },
    };

    const taken = await run(['sync-batch', '-', '--json'], JSON.stringify(odd));
    const again = await run(['sync-batch', '-', '--json'], JSON.stringify({ id: odd.id, name: 'x' }));
    const refused = await run(
      ['sync-batch', '-'],
      [odd, { ...odd, metadata: { _bsontype: 'Long', 'a\0b': '1' } }]
        .map((entry) => JSON.stringify(entry))
        .join('\n'),
    );

    expect(documentOf(taken.stdout)).toMatchObject({ status: 'succeeded', result: { created: 1 } });
    expect(documentOf(again.stdout)).toMatchObject({ status: 'succeeded', result: { updated: 1 } });
    expect(await mirrored(odd.id)).toMatchObject({ ...odd, name: 'x' });
    expect(refused.code).toBe(2);
    expect(refused.stderr).toBe(
      'error: standard input: line 2 must have no key with a NUL character, which MongoDB cannot store',
    );
  });

  it('inserts nothing of a batch that has a fault anywhere', async () => {
    const requests = database.db.collection('sync_requests');
    const before = await requests.countDocuments();

    const { code, stderr } = await run(['sync-batch', '-'], '{"id": "cus_1"}\n{"id": "cus_2"');

    expect(code).toBe(2);
    expect(stderr).toBe(
      'error: standard input: invalid JSON at line 2, column 15, where the text ends too early',
    );
    expect(await requests.countDocuments()).toBe(before);
  });

  it('prints the id and ends with --no-wait', async () => {
    const { code, stdout } = await run(['soft-delete', 'cus_1', '--no-wait']);

    expect(code).toBe(0);
    const _id = new mongo.ObjectId(stdout);
    expect(await database.db.collection('sync_requests').findOne({ _id })).toMatchObject({
      command: 'softDelete',
      stripeId: 'cus_1',
      requestedBy: 'cli',
    });
  });
});
