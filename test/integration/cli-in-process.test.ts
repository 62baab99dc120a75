import { beforeAll, describe, expect, it } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { errorsOf, onlyRequest, runCommandLine } from '../support/cli.js';
import { freshDatabase } from '../support/database.js';
import { startStandalone } from '../support/mongodb.js';
import { startProcess } from '../support/process.js';

let simulator: StripeSimulator;
let stripe: Record<string, string>;

beforeAll(async () => {
  simulator = await startSimulator({ seed: { count: 450 } });
  atEnd(() => simulator.close());
  stripe = {
    STRIPE_API_BASE: simulator.url,
    STRIPE_API_KEY: simulator.restrictedKey,
    STRIPE_CALLS_PER_SECOND: '0',
    STRIPE_CALLS_PER_SECOND_PER_ENDPOINT: '0',
  };
});

describe('a command with --in-process', () => {
  it('does the work itself, without a daemon', async () => {
    const database = freshDatabase();

    const { code, stdout, stderr } = await runCommandLine(['sync-all', '--in-process'], {
      env: { ...stripe, MONGODB_URI: database.uri },
    });

    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stdout).toMatch(/^syncAll succeeded /);
    expect(await database.db.collection('stripe_customers').countDocuments()).toBe(450);
    expect(await onlyRequest(database)).toMatchObject({ status: 'succeeded', attempts: 1 });
  });

  it('works without change streams, on a standalone server', async () => {
    const standalone = await startStandalone();
    const [id = ''] = simulator.listIds();

    const run = await runCommandLine(['sync-by-ids', id, '--in-process'], {
      env: { ...stripe, MONGODB_URI: standalone.uriFor('alone') },
    });

    expect(run).toMatchObject({ code: 0 });
  });

  it('waits through a fault that passes', async () => {
    const database = freshDatabase();
    const [id = ''] = simulator.listIds();
    const fault = simulator.fault({
      kind: 'status',
      status: 500,
      times: 3,
      endpoint: 'GET /v1/customers/{id}',
    });
    atEnd(() => simulator.clearFaults());

    const { code } = await runCommandLine(['sync-by-ids', id, '--in-process'], {
      env: { ...stripe, MONGODB_URI: database.uri },
    });

    expect(code).toBe(0);
    expect(fault.hits).toBe(3);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('gives the request back on %s, its attempt too', async (signal) => {
    const database = freshDatabase();
    const hold = simulator.hold({ endpoint: 'GET /v1/customers', when: 'before-compute', skip: 1 });
    atEnd(() => hold.release());
    const running = startProcess({
      args: ['sync-all', '--in-process'],
      env: { ...stripe, MONGODB_URI: database.uri },
    });
    await hold.arrived;

    running.signal(signal);

    expect(await running.exit).toEqual({ code: signal === 'SIGINT' ? 130 : 143, signal: null });
    expect(await onlyRequest(database)).toMatchObject({ status: 'pending', attempts: 0 });
    expect(errorsOf(running)).toContain('Unfinished work is left for a daemon:');
    expect(errorsOf(running)).toContain('stripe-mongo-sync requests cancel ');
  });

  it('ends with 1 for a key that Stripe refuses, says what to do, and leaves no request behind', async () => {
    const database = freshDatabase();

    const { code, stdout, stderr } = await runCommandLine(['sync-all', '--in-process'], {
      env: { ...stripe, MONGODB_URI: database.uri, STRIPE_API_KEY: 'rk_test_nobodysKey1234' },
    });

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^error: STRIPE_API_KEY was refused by Stripe.*$/);
    expect(stderr).not.toContain('nobodysKey');
    expect(stderr).not.toMatch(/^ +at /m);
    expect(await onlyRequest(database)).toBeUndefined();
  });
});
