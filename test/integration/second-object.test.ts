// The seam of src/resources: a second kind of Stripe object is one file there and one line in the registry. This test adds events, which have no
// metadata and ids of another form, to a copy of the product, and syncs them in every way that there is.
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startSimulator } from 'stripe-simulator';
import ts from 'typescript';
import { beforeAll, describe, expect, test } from 'vitest';
import { atEnd } from '../support/cleanup.js';
import { countsOf, startDaemon, UserOfQueue } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';
import { startProcess } from '../support/process.js';

const repository = fileURLToPath(new URL('../..', import.meta.url));

const file = `
import type { Resource } from './resource.js';
export const event = {
  object: 'event',
  collection: () => 'stripe_events',
  list: {
    endpoint: 'GET /v1/events',
    send: (stripe, params, options) => stripe.events.list(params, options),
  },
  retrieve: {
    endpoint: 'GET /v1/events/{id}',
    send: (stripe, id, options) => stripe.events.retrieve(id, {}, options),
  },
} as const satisfies Resource;
`;
const line = ['resources = [customer]', 'resources = [customer, event]'] as const;

/** A compiled copy of src with that file and that line. Types are not checked. */
async function buildWithEvents(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'stripe-mongo-sync-events-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const dist = join(folder, 'dist');
  await cp(join(repository, 'src'), dist, { recursive: true });
  const registry = join(dist, 'resources', 'registry.ts');
  const text = await readFile(registry, 'utf8');
  expect(text).toContain(line[0]);
  await writeFile(registry, `import { event } from './event.js';\n${text.replace(...line)}`);
  await writeFile(join(dist, 'resources', 'event.ts'), file);
  const names = await readdir(dist, { recursive: true });
  await Promise.all(
    names
      .filter((name) => name.endsWith('.ts'))
      .map(async (name) => {
        const { outputText } = ts.transpileModule(await readFile(join(dist, name), 'utf8'), {
          compilerOptions: {
            target: ts.ScriptTarget.ES2023,
            module: ts.ModuleKind.ESNext,
            verbatimModuleSyntax: true,
          },
        });
        await writeFile(join(dist, name.replace(/\.ts$/, '.js')), outputText);
      }),
  );
  for (const name of ['node_modules', 'config', 'package.json']) {
    await symlink(join(repository, name), join(folder, name));
  }
  return join(dist, 'main.js');
}

const database = freshDatabase();

beforeAll(async () => {
  const before = process.env['TEST_ENTRY'];
  process.env['TEST_ENTRY'] = await buildWithEvents();
  return () => {
    if (before === undefined) delete process.env['TEST_ENTRY'];
    else process.env['TEST_ENTRY'] = before;
  };
}, 60_000);

describe('a second kind of object', () => {
  test('is synced by scan, by id, by batch and by mark, apart from the first', async () => {
    const simulator = await startSimulator();
    atEnd(() => simulator.close());
    for (let n = 0; n < 120; n += 1) simulator.create({ name: `Customer ${n}` });
    const daemon = startDaemon(database, simulator);
    await daemon.ready();
    const user = new UserOfQueue(database.db);
    const events = database.db.collection<{ _id: string; _sync: Record<string, unknown> }>('stripe_events');
    const customers = database.db.collection('stripe_customers');

    const scan = await user.run({ command: 'syncAll', object: 'event' });

    expect(scan).toMatchObject({ status: 'succeeded', result: { created: 120 } });
    expect(await customers.countDocuments()).toBe(0);
    const stored = await events.findOne({}, { sort: { created: -1 } });
    expect(stored).toMatchObject({ object: 'event', type: 'customer.created', _sync: { source: 'list' } });
    expect(stored?._id).toMatch(/^evt_/);
    expect(stored).not.toHaveProperty('metadata');

    const both = await user.insert({ command: 'syncAll' }, { command: 'syncAll', object: 'event' });
    const [ofCustomers, ofEvents] = await user.allEnded(both);
    expect(ofCustomers).toMatchObject({ status: 'succeeded', result: { created: 120 } });
    expect(ofEvents).toMatchObject({ status: 'succeeded', result: { unchanged: 120 } });

    const id = stored?._id ?? '';
    await events.deleteOne({ _id: id });
    const byId = await user.run({ command: 'syncByIds', object: 'event', ids: [id] });
    expect(countsOf(byId)).toEqual({ created: 1 });

    const held = {
      id: 'evt_held',
      object: 'event',
      created: 1_700_000_000,
      livemode: false,
      type: 'made.up',
    };
    const batch = await user.run({ command: 'syncBatch', object: 'event', batch: [held] });
    expect(countsOf(batch)).toEqual({ created: 1 });
    expect(await events.findOne({ _id: 'evt_held' })).toMatchObject({ type: 'made.up' });

    const mark = await user.run({ command: 'softDelete', object: 'event', stripeId: id });
    expect(countsOf(mark)).toEqual({ deleted: 1 });
    expect((await events.findOne({ _id: id }))?._sync).toMatchObject({ deletedBy: 'request' });

    const samples = await daemon.samples();
    expect(samples.get('stripe_sync_objects_total{object="event",outcome="created"}')).toBe(122);
    expect(samples.get('stripe_sync_mirror_objects{object="event",state="deleted"}')).toBe(1);
  });

  test('is shown by status, and a kind that nobody knows is refused by its name', async () => {
    const own = freshDatabase();
    const user = new UserOfQueue(own.db);
    const simulator = await startSimulator();
    atEnd(() => simulator.close());
    for (let n = 0; n < 3; n += 1) simulator.create({});
    await startDaemon(own, simulator).ready();

    const unknown = await user.run({ command: 'syncAll', object: 'coupon' });
    await user.run({ command: 'syncAll', object: 'event' });
    const status = startProcess({ args: ['status', '--json'], env: { MONGODB_URI: own.uri } });
    await status.exit;

    expect(unknown).toMatchObject({ status: 'failed', error: { code: 'invalid_request' } });
    expect(JSON.stringify(unknown['error'])).toContain('object must be one of customer, event');
    const shown = status.lines.map(({ json }) => json).find((json) => json !== undefined);
    expect(shown).toMatchObject({ mirror: { customer: { live: 0 }, event: { live: 3, deleted: 0 } } });
  });
});
