// No secret and no person's data in anything that the service tells: logs at their most talkative, metrics, probes, what the daemon writes on
// requests and in its own state, and what commands print; whatever goes wrong. Every canary holds the word that is looked for at the end.
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type FaultOrder, startSimulator, type StripeSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { runCommandLine } from '../support/cli.js';
import { type Daemon, startDaemon, UserOfQueue } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import type { RequestDocument } from '../support/requests.js';

const canary = /kanari/i;
const key = 'rk_test_KanariSecret00001a2b';
const person = {
  email: 'jane.kanari@kanari.example',
  name: 'Jane Kanari',
  phone: '+1 555 KANARI',
  description: 'Kanari prefers letters',
  address: { line1: '1 Kanari Street', city: 'Kanari', postal_code: 'KANARI 1' },
  shipping: { name: 'Jane Kanari', phone: '+1 555 KANARI', address: { line1: '1 Kanari Street' } },
  metadata: { kanari_id: 'Kanari 12', 'note.$kanari': '$Kanari' },
};

const quoting = (type: string, code?: string): object => ({
  error: {
    type,
    ...(code !== undefined && { code }),
    message: `No such thing for ${person.email} (${person.name})`,
    param: person.email,
  },
});

/** Everything that may come instead of an answer, as much of it as can quoting the person. */
const faults: FaultOrder[] = [
  { kind: 'status', status: 500, body: quoting('api_error') },
  { kind: 'status', status: 400, body: quoting('invalid_request_error', 'Kanari of no such code') },
  { kind: 'status', status: 402, body: quoting('card_error', 'card_declined') },
  { kind: 'status', status: 404, body: quoting('invalid_request_error', 'resource_missing') },
  { kind: 'status', status: 409, body: quoting('idempotency_error') },
  { kind: 'status', status: 418, body: `I am ${person.name}`, headers: { 'x-kanari': person.name } },
  { kind: 'status', status: 200, body: `{"id": "${person.email}` },
  { kind: 'status', status: 200, body: { id: person.email, object: person.name, data: [person.name] } },
  { kind: 'html', status: 502 },
  { kind: 'truncate', how: 'contentLength' },
  { kind: 'truncate', how: 'chunked' },
  { kind: 'null' },
  { kind: 'rateLimit', reason: 'endpoint-rate' },
  { kind: 'lockTimeout' },
  { kind: 'reset' },
  { kind: 'stallBody' },
  { kind: 'emptyPage' },
  // Last, as the daemon then rests for a while from what a key may not do.
  {
    kind: 'status',
    status: 403,
    body: quoting('invalid_request_error'),
    endpoint: 'GET /v1/customers',
  },
];

interface Scene {
  database: FreshDatabase;
  simulator: StripeSimulator;
  user: UserOfQueue;
  daemon: Daemon;
  id: string;
}

test('no secret and no person is told of, whatever goes wrong', async () => {
  const scene = await open();
  const { database, simulator, user, daemon } = scene;

  expect((await user.run({ command: 'syncAll' }))['status']).toBe('partial');
  await everyFaultOfStripe(scene);
  await everyFaultOfMongoDB(scene);
  await everyFaultOfUsers(scene);
  simulator.expireKey(key);
  await user.run({ command: 'syncByIds', ids: [scene.id], maxAttempts: 1 });
  const probes = await Promise.all(['/metrics', '/readyz', '/healthz'].map((path) => daemon.get(path)));
  await daemon.stop();
  const commands = await everyCommand(scene);

  const requests = await user.requests.find().toArray();
  const told = {
    daemon: daemon.lines.map(({ text }) => text),
    probes: probes.map(({ body }) => body),
    requests: requests.map((request) => JSON.stringify(ofDaemon(request))),
    state: (await database.db.collection('sync_state').find().toArray()).map((each) => JSON.stringify(each)),
    commands,
  };
  for (const [where, texts] of Object.entries(told)) {
    expect([where, texts.filter((text) => canary.test(text))]).toEqual([where, []]);
  }
  // That the test can fail: the person is in the mirror and in what users wrote, and all of it was told, by other words.
  expect(await database.db.collection('stripe_customers').countDocuments({ email: person.email })).toBe(1);
  expect(requests.some((request) => canary.test(JSON.stringify(request)))).toBe(true);
  const codes = new Set(told.requests.join().match(/(?<="code":")\w+/g));
  expect([...codes].sort()).toEqual(expect.arrayContaining(expectedCodes));
  expect(told.daemon.length).toBeGreaterThan(100);
  // An id that may be a person's is logged as its hash, by which it can be found.
  const hashed = createHash('sha256').update(person.name).digest('hex').slice(0, 16);
  expect(told.daemon.join()).toContain(`sha256:${hashed}: The mirror has no such object`);
}, 60_000);

const expectedCodes = [
  'attempts_exhausted',
  'deletion_unverified',
  'document_too_large',
  'invalid_object',
  'invalid_request',
  'stripe_invalid_response',
  'stripe_key_refused',
  'stripe_permission_denied',
  'stripe_rate_limited',
  'stripe_rejected',
  'stripe_unavailable',
  'write_rejected',
  'wrong_mode',
];

/** A mirror whose owner has an index and a rule of their own, a person, and customers that it cannot hold. */
async function open(): Promise<Scene> {
  const database = freshDatabase();
  const { db } = database;
  const simulator = await startSimulator();
  atEnd(() => simulator.close());
  simulator.addKey(key);
  await db.createCollection('stripe_customers', {
    validator: { description: { $ne: 'Kanari against the rule' } },
  });
  await db
    .collection('stripe_customers')
    .createIndex({ email: 1 }, { unique: true, partialFilterExpression: { email: { $type: 'string' } } }, {});
  const { id } = simulator.create(person);
  simulator.create(person);
  simulator.create({ description: 'Kanari against the rule' });

  const daemon = startDaemon(database, simulator, {
    STRIPE_API_KEY: key,
    LOG_LEVEL: 'trace',
    REQUESTS_LEASE_MS: '800',
    REQUESTS_POLL_INTERVAL_MS: '200',
    REQUESTS_MAX_ATTEMPTS: '1',
    STRIPE_ATTEMPT_TIMEOUT_MS: '300',
    STRIPE_CALL_DEADLINE_MS: '400',
  });
  await daemon.ready();
  return { database, simulator, user: new UserOfQueue(db), daemon, id };
}

async function everyFaultOfStripe({ simulator, user, id }: Scene): Promise<void> {
  for (const fault of faults) {
    const order = simulator.fault({ ...fault, times: Infinity });
    const made = await user.insert({ command: 'syncByIds', ids: [id] }, { command: 'syncAll' });
    for (const request of made) await user.ended(request);
    expect(order.hits, JSON.stringify(fault)).toBeGreaterThan(0);
    order.remove();
  }
}

async function everyFaultOfMongoDB({ database, user, id }: Scene): Promise<void> {
  for (const errorCode of [13, 50]) {
    const failpoint = await database.failCommand({
      failCommands: ['insert', 'update'],
      errorCode,
      times: 3,
    });
    await user.run({ command: 'syncBatch', batch: [{ ...person, id, name: `Kanari ${errorCode}` }] });
    await failpoint.off();
  }
}

async function everyFaultOfUsers({ user, id }: Scene): Promise<void> {
  const made = await user.insert(
    { command: 'syncBatch', batch: [{ ...person, id: person.email }, person, person.name] },
    {
      command: 'syncBatch',
      batch: [
        { ...person, id, object: person.name },
        { ...person, id, created: person.name },
      ],
    },
    {
      command: 'syncBatch',
      batch: [
        { ...person, id, livemode: true },
        { ...person, id: 'cus_twin2', deleted: true },
      ],
    },
    { command: 'syncBatch', batch: [{ ...person, id: 'cus_twin' }] },
    { command: 'syncByIds', ids: [`${person.email}\0`, `${person.name}\0`, `${key}\0`, person] },
    { command: 'softDelete', stripeId: person.email },
    { command: 'softDelete', stripeId: person.name },
    { command: 'syncAll', requestedBy: person.name.repeat(50), dedupeKey: person, dryRun: person.name },
    { command: 'syncAll', runAt: person.email, maxAttempts: person.name, cancel: key },
    { command: person },
    { command: 'syncAll', status: person.name },
  );
  for (const request of made) expect(await user.ended(request)).toMatchObject({ status: 'failed' });
}

/** What commands print, to both streams. */
async function everyCommand({ database, simulator, id }: Scene): Promise<string[]> {
  simulator.addKey(key);
  const description = 'Kanari '.repeat(2_400_000);
  simulator.createRaw({ ...simulator.get(id), id: 'cus_large', email: null, description });
  simulator.create({ ...person, id: 'cus_mode' });
  // A fault that ends the process that meets it.
  simulator.fault({ kind: 'wrongLivemode', path: '/v1/customers/cus_mode', times: Infinity });
  const folder = await mkdtemp(join(tmpdir(), 'batch-'));
  atEnd(() => rm(folder, { recursive: true }));
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  const env = {
    STRIPE_API_KEY: key,
    STRIPE_API_BASE: simulator.url,
    MONGODB_URI: database.uri,
    HTTP_PORT: '0',
    LOG_LEVEL: 'trace',
  };
  const withPassword = database.uri.replace('mongodb://', 'mongodb://kanari:KanariSecret@');
  const broken = await file('broken', `[{"id": "${id}", "name": "Jane Kanari" "email"`);
  const odd = await file('odd', JSON.stringify([{ ...person, id: `${person.email}\0` }]));
  const runs = await Promise.all([
    runCommandLine(['sync-batch', '--in-process', broken], { env }),
    runCommandLine(['sync-batch', '--in-process', odd], { env }),
    runCommandLine(['sync-all', '--in-process', '--json'], { env }),
    runCommandLine(['sync-by-ids', 'cus_mode', '--in-process'], { env }),
    runCommandLine(['run'], { env: { ...env, MONGODB_URI: withPassword } }),
    runCommandLine(['run'], { env: { ...env, STRIPE_API_KEY: 'KanariSecret', MONGODB_URI: 'Kanari' } }),
  ]);
  for (const { stdout, stderr } of runs) expect(stdout + stderr).not.toBe('');
  return runs.flatMap(({ stdout, stderr }) => [stdout, stderr]);
}

/** What the daemon has written, without what the user has: the ids that were asked for stand in items, and before the message about one. */
function ofDaemon(request: RequestDocument): object {
  const { status, error, history, lease, progress, attempts } = request;
  const result = request['result'] as { items: { id: string }[] } | undefined;
  const items = result?.items.map((item) => ({ ...item, id: undefined }));
  const messages = JSON.stringify({ error, history });
  const told = (result?.items ?? []).reduce(
    (text, { id }) => text.replaceAll(`"message":"${id}: `, '"message":"'),
    messages,
  );
  return { status, ...(JSON.parse(told) as object), result: { ...result, items }, lease, progress, attempts };
}
