// The script that the chart's `helm test` runs in a pod, run here beside a real daemon.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { atEnd } from '../support/cleanup.js';
import { type CommandRun, runCommandLine } from '../support/cli.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { freshDatabase } from '../support/database.js';

const database = freshDatabase();
let simulator: StripeSimulator;
let daemon: Daemon;
let secretFile: string;

const script = 'helm/stripe-mongo-sync/files/helm-test.mjs';
const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** As the pod does: MongoDB's connection string as a file, no Stripe key. */
const helmTest = (id: string, seconds = '30'): Promise<CommandRun> =>
  runCommandLine([main, id, seconds], {
    entry: script,
    env: { MONGODB_URI_FILE: secretFile, NODE_OPTIONS: `--import ${tsx}` },
  });

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'helm-test-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  secretFile = join(folder, 'uri');
  await writeFile(secretFile, `${database.uri}\n`);
  simulator = await startSimulator({ seed: { count: 3 } });
  atEnd(() => simulator.close());
  daemon = startDaemon(database, simulator);
  await daemon.ready();
});

describe('helm test', () => {
  it('passes when a daemon has asked Stripe for a customer that is not in the account', async () => {
    const { code, stdout, stderr } = await helmTest('cus_made_up');

    expect(stdout).toBe('passed: a daemon asked Stripe for cus_made_up, which is not in the account');
    expect(stderr).toContain('Inserted request');
    expect(code).toBe(0);
  });

  it('writes nothing to the mirror, and asks Stripe once', async () => {
    const calls = simulator.requests.length;

    await helmTest('cus_made_up');

    expect(await database.db.collection('stripe_customers').countDocuments()).toBe(0);
    expect(simulator.requests).toHaveLength(calls + 1);
  });

  it('fails, and says what came instead, for a customer that there is', async () => {
    const [id = ''] = simulator.listIds();

    const { code, stderr } = await helmTest(id);

    expect(stderr).toContain(`failed: expected not_in_account for ${id}, got created`);
    expect(code).toBe(1);
  });

  it('fails, and says what is missing, when no daemon answers', async () => {
    await daemon.stop();

    const { code, stdout, stderr } = await helmTest('cus_made_up', '1');

    expect(stdout).toBe('');
    expect(stderr).toContain(
      'failed: expected not_in_account for cus_made_up, got no end of the request within 1 s',
    );
    expect(code).toBe(1);
  });
});
