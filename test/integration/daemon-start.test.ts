// A daemon that cannot start says once what is wrong and what to do, and touches nothing; one that merely has to wait waits.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { mongo } from 'mongoose';
import { describe, expect, test } from 'vitest';
import { type SimulatorOptions, startSimulator, type StripeSimulator } from 'stripe-simulator';
import { StripeCustomerAction } from '../../src/index.js';
import { atEnd } from '../support/cleanup.js';
import { runCommandLine } from '../support/cli.js';
import { type Daemon, said, startDaemon, UserOfQueue } from '../support/daemon.js';
import { type FreshDatabase, freshDatabase } from '../support/database.js';
import { freePort, type RunningProcess } from '../support/process.js';

async function startStripe(options: SimulatorOptions = {}): Promise<StripeSimulator> {
  const simulator = await startSimulator(options);
  atEnd(() => simulator.close());
  return simulator;
}

/** Fills the mirror from the simulator, with the key that may tell its account. */
async function mirror({ uri }: FreshDatabase, simulator: StripeSimulator): Promise<void> {
  const action = await StripeCustomerAction.connect({
    config: { stripe: { apiKey: simulator.key, apiBase: simulator.url }, mongodb: { uri } },
  });
  await action.syncAll();
  await action.close();
}

/** Whole documents of the mirror and of what the daemon knows about it. */
async function contentOf({ db }: FreshDatabase): Promise<mongo.Document[]> {
  const names = ['stripe_customers', 'sync_requests'];
  const found = await Promise.all(names.map((name) => db.collection(name).find().sort({ _id: 1 }).toArray()));
  return [
    ...found.flat(),
    ...(await db
      .collection('sync_state')
      .find({ _id: 'account-binding' as never })
      .toArray()),
  ];
}

const listCalls = ({ stats }: StripeSimulator): number => stats.calls['GET /v1/customers'] ?? 0;

const errorLines = ({ lines }: RunningProcess): string[] =>
  lines.filter(({ stream }) => stream === 'stderr').map(({ text }) => text);

interface Told {
  msg: string;
  err: { code: string; message: string };
}

/** What it was ended by: one error, told once, and no other. */
function endedBy(daemon: Daemon): Told['err'] {
  const errors = daemon.errors() as unknown as Told[];
  expect(errors.map(({ msg }) => msg)).toEqual(['Ended by a fault']);
  expect(errorLines(daemon)).toEqual([]);
  return errors[0]!.err;
}

describe('a key', () => {
  test('that Stripe does not know ends the start with what to do, and nothing is written', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 5 } });
    const daemon = startDaemon(database, simulator, { STRIPE_API_KEY: 'rk_test_neverMade0000' });

    expect(await daemon.exit).toEqual({ code: 1, signal: null });

    expect(endedBy(daemon)).toMatchObject({
      code: 'stripe_key_refused',
      message: expect.stringMatching(
        /^STRIPE_API_KEY was refused by Stripe; .* create one in the Stripe Dashboard/,
      ) as string,
    });
    expect(await contentOf(database)).toEqual([]);
    expect(simulator.requests.length).toBeLessThanOrEqual(1);
  });

  test('of another account or mode ends the start, and nothing is marked or written', async () => {
    const database = freshDatabase();
    const simulator = await startStripe({ seed: { count: 30 } });
    await mirror(database, simulator);
    const before = await contentOf(database);
    const listed = listCalls(simulator);
    const other = simulator.account('acct_1Other').keys;
    const wrong = [
      [
        other.secretTest,
        'account_mismatch',
        /account acct_1Other, but the database mirrors acct_1Simulated0Default/,
      ],
      [
        other.restrictedTest,
        'account_mismatch',
        /with this key, Stripe knows none of that account's customers that were asked for \(1 unknown/,
      ],
      [
        simulator.account().keys.restrictedLive,
        'wrong_mode',
        /a live-mode key, but the database mirrors test mode/,
      ],
    ] as const;

    await Promise.all(
      wrong.map(async ([key, code, message]) => {
        const daemon = startDaemon(database, simulator, {
          STRIPE_API_KEY: key,
          SYNC_ALL_SCHEDULE: '* * * * * *',
        });
        expect(await daemon.exit).toEqual({ code: 1, signal: null });
        const error = endedBy(daemon);
        expect(error).toMatchObject({ code, message: expect.stringMatching(message) as string });
        expect(error.message).toMatch(/MONGODB_DATABASE.*nothing was written$/);
      }),
    );

    expect(await contentOf(database)).toEqual(before);
    expect(listCalls(simulator)).toBe(listed);
  });
});

test('MongoDB that cannot be reached is waited for until the deadline, and that is said', async () => {
  const simulator = await startStripe();
  const uri = `mongodb://127.0.0.1:${await freePort()}/stripe`;
  const daemon = startDaemon({ uri }, simulator, { MONGODB_CONNECT_DEADLINE_MS: '5500' });

  const { json } = await daemon.waitForLine(said('MongoDB is unreachable; retrying'));
  expect(json).toMatchObject({ attempt: 1 });
  expect(await daemon.exit).toEqual({ code: 1, signal: null });

  expect(endedBy(daemon)).toMatchObject({
    code: 'mongodb_unavailable',
    message: expect.stringMatching(/MONGODB_URI.*given up after 5500 ms$/) as string,
  });
  expect(simulator.requests).toEqual([]);
});

describe('settings', () => {
  test('that are wrong or missing end it with 2, every fault named at once', async () => {
    const { code, stdout, stderr } = await runCommandLine(['run'], {
      env: {
        STRIPE_API_KEY: 'pk_test_public',
        SYNC_ALL_SCHEDULE: '99 * * * *',
        SYNC_ALL_TIMEZONE: 'Mars/Olympus',
        REQUESTS_CONCURRENCY: 'many',
        HTTP_PORT: '70000',
      },
    });

    expect(code).toBe(2);
    expect(stdout).toBe('');
    const faults = stderr
      .split('\n')
      .map((line) => line.replace('error: ', '').split(' ').slice(0, 3).join(' '));
    expect(faults.sort()).toEqual([
      'HTTP_PORT must be',
      'MONGODB_URI is required',
      'REQUESTS_CONCURRENCY must be',
      'STRIPE_API_KEY must be',
      'SYNC_ALL_SCHEDULE must be',
      'SYNC_ALL_TIMEZONE must be',
    ]);
    expect(stderr).toContain('got "99 * * * *"');
    expect(stderr).not.toContain('pk_test_public');
  });

  test('whose port is taken end it with an error that names HTTP_PORT', async () => {
    const database = freshDatabase();
    const simulator = await startStripe();
    const other = createServer();
    atEnd(() => void other.close());
    const port = await freePort();
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve));
    const daemon = startDaemon(database, simulator, { HTTP_PORT: String(port) });

    expect(await daemon.exit).toEqual({ code: 2, signal: null });

    expect(endedBy(daemon).message).toMatch(new RegExp(`^HTTP_PORT must be a free port, got ${port}`));
    expect(await database.db.listCollections().toArray()).toEqual([]);
    expect(simulator.requests).toEqual([]);
  });
});

test('a key in a file that is exchanged is taken up without a restart', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stripe-key-'));
  atEnd(() => rm(folder, { recursive: true }));
  const file = join(folder, 'key');
  const database = freshDatabase();
  const user = new UserOfQueue(database.db);
  const simulator = await startStripe({ seed: { count: 2 } });
  const [first, second] = simulator.listIds();
  await writeFile(file, `${simulator.restrictedKey}\n`);
  const daemon = startDaemon(database, simulator, { STRIPE_API_KEY_FILE: file });
  await daemon.ready();
  expect(await user.run({ command: 'syncByIds', ids: [first] })).toMatchObject({ status: 'succeeded' });

  const next = 'rk_test_rotated0000';
  simulator.addKey(next);
  await writeFile(file, `${next}\n`);
  simulator.expireKey(simulator.restrictedKey);
  const ended = await user.run({ command: 'syncByIds', ids: [second] });

  // The old key's refusal makes the daemon look at the file; the request is tried again with the new one.
  expect(ended['status']).toBe('succeeded');
  const codes = (ended['history'] as { error?: { code: string } }[]).map(({ error }) => error?.code);
  expect(codes[0]).toBe('stripe_key_refused');
  // How many attempts come before the new key is proven depends on the machine.
  expect(new Set(codes)).toEqual(new Set(['stripe_key_refused', undefined]));
  await daemon.waitForLine(said('The new Stripe key is in use'));
  expect(simulator.requests.at(-1)).toMatchObject({ keySuffix: next.slice(-4), status: 200 });
  expect(daemon.lines.some(({ text }) => text.includes('rotated0000'))).toBe(false);
});
