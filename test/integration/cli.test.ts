import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { callCommandLine, runCommandLine } from '../support/cli.js';

const commands = [
  'run',
  'check-config',
  'migrate',
  'sync-all',
  'sync-by-ids',
  'sync-batch',
  'soft-delete',
  'approve-removals',
  'requests',
  'status',
  'help',
];
const subcommands = ['list', 'show', 'retry', 'cancel', 'watch'].map((name) => ['requests', name]);
const settings = {
  STRIPE_API_KEY: 'rk_test_canaryCanaryCanary',
  MONGODB_URI: 'mongodb://user:secretCanary@127.0.0.1:27017/x',
};

describe('the command line', () => {
  it('explains itself and its exit codes', async () => {
    const { code, stdout, stderr } = await runCommandLine(['--help']);

    expect(code).toBe(0);
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
    expect(stdout).toContain('Exit codes:');
    expect(stderr).toBe('');
  });

  it('tells its version', async () => {
    expect(await runCommandLine(['--version'])).toMatchObject({ code: 0, stdout: '0.1.0', stderr: '' });
  });

  it('suggests the command that was meant', async () => {
    const { code, stdout, stderr } = await runCommandLine(['sync-al']);

    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain("unknown command 'sync-al'\n(Did you mean sync-all?)");
  });

  it('asks only for the settings that a command needs', async () => {
    const following = await runCommandLine(['soft-delete', 'cus_1']);
    const working = await runCommandLine(['soft-delete', 'cus_1', '--in-process']);

    expect(following).toMatchObject({ code: 2, stdout: '' });
    expect(following.stderr).toMatch(/^error: MONGODB_URI is required .*\S$/);
    expect(working.stderr.split('\n').map((line) => line.split(' ')[1])).toEqual([
      'STRIPE_API_KEY',
      'MONGODB_URI',
    ]);
  });
});

describe('help', () => {
  it('of a command or a subcommand is what its own --help prints', async () => {
    for (const path of [[], ['sync-by-ids'], ['requests', 'retry'], ['help']]) {
      const asked = await callCommandLine(['help', ...path]);

      expect(asked).toMatchObject({ code: 0, stderr: '' });
      expect(asked).toEqual(await callCommandLine([...path, '--help']));
    }
  });

  it.each([
    [['sync-al'], "unknown command 'sync-al'\n(Did you mean sync-all?)\nSee stripe-mongo-sync --help"],
    [
      ['requests', 'retri'],
      "unknown command 'retri'\n(Did you mean retry?)\nSee stripe-mongo-sync requests --help",
    ],
    [
      ['sync-by-ids', 'cus_1'],
      "'stripe-mongo-sync sync-by-ids' has no subcommand 'cus_1'\nSee stripe-mongo-sync sync-by-ids --help",
    ],
  ])('of a command that is not there ends with 2: %j', async (path, says) => {
    const { code, stdout, stderr } = await callCommandLine(['help', ...path]);

    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toBe(`error: ${says}`);
  });

  it.each([
    [['sync-al'], ''],
    [['sync-all', '--dryrun'], ' sync-all'],
    [['requests', 'lsit'], ' requests'],
    [['requests', 'retry', '--since', 'noon'], ' requests retry'],
  ])('is pointed to by the error of the command itself: %j', async (args, path) => {
    const { code, stderr } = await callCommandLine(args);

    expect(code).toBe(2);
    expect(stderr.split('\n').at(-1)).toBe(`See stripe-mongo-sync${path} --help`);
  });

  it('and what is wrong with a command line load neither the MongoDB driver nor the Stripe SDK', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'loaded-')), 'modules');
    const helps = [...commands.map((name) => [name]), ...subcommands].map((path) => [...path, '--help']);
    const wrong = [['sync-al'], ['requests', 'show'], ['sync-all', '--timeout', 'soon']];
    const hook = new URL('../support/fixtures/loaded-modules.mjs', import.meta.url).href;

    const { code, stdout } = await runCommandLine(
      [JSON.stringify([...helps, ...wrong, ['check-config'], ['--version']])],
      {
        entry: 'test/support/fixtures/command-lines.process.ts',
        nodeArgs: ['--import', hook],
        env: { ...settings, LOADED_MODULES: file },
      },
    );

    const ends = [...helps.map(() => 0), ...wrong.map(() => 2), 0, 0];
    expect({ code, last: stdout.split('\n').at(-1) }).toEqual({
      code: 0,
      last: JSON.stringify({ codes: ends }),
    });
    const packages = new Set(readFileSync(file, 'utf8').match(/node_modules\/[^/\n]+/g));
    expect(packages).toContain('node_modules/commander');
    for (const name of ['mongoose', 'mongodb', 'stripe', 'cli-progress', 'prom-client']) {
      expect(packages).not.toContain(`node_modules/${name}`);
    }
  });
});

describe('check-config', () => {
  it('prints the effective configuration with where it is from, secrets masked', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'check-config-'));
    const file = join(folder, 'settings.yaml');
    writeFileSync(file, 'syncAll:\n  schedule: 0 4 * * *\n');

    const { code, stdout, stderr } = await runCommandLine(['check-config'], {
      env: { ...settings, CONFIG_FILE: file, REQUESTS_CONCURRENCY: '7' },
    });

    expect(code).toBe(0);
    expect(stderr).toBe('');
    expect(stdout).toContain('concurrency: 7 # from the environment');
    expect(stdout).toContain(`schedule: 0 4 * * * # from ${file}`);
    expect(stdout).toContain('pollIntervalMs: 5000\n');
    expect(stdout).toContain('rk_test_…nary');
    expect(stdout).not.toContain('canaryCanary');
    expect(stdout).not.toContain('secretCanary');
  });

  it('names every fault at once, one a line, and ends with 2', async () => {
    const { code, stdout, stderr } = await runCommandLine(['check-config'], {
      env: { STRIPE_CALLS_PER_SECOND: 'fast', SYNC_ALL_SCHEDULE: '61 * * * *', HTTP_PORT: '70000' },
    });

    expect(code).toBe(2);
    expect(stdout).toBe('');
    const faults = stderr.split('\n');
    expect(faults.map((fault) => fault.split(' ').slice(0, 2).join(' ')).sort()).toEqual([
      'error: HTTP_PORT',
      'error: MONGODB_URI',
      'error: STRIPE_API_KEY',
      'error: STRIPE_CALLS_PER_SECOND',
      'error: SYNC_ALL_SCHEDULE',
    ]);
    expect(stderr).toContain('got "fast"');
  });

  it('refuses for the daemon what it refuses by itself', async () => {
    const env = { ...settings, SYNC_ALL_SCHEDULE: '0 0 31 2 *' };

    const [checked, ran] = await Promise.all([
      runCommandLine(['check-config'], { env }),
      runCommandLine(['run'], { env }),
    ]);

    expect(checked).toMatchObject({ code: 2, stdout: '' });
    expect(checked.stderr).toMatch(/^error: SYNC_ALL_SCHEDULE must be .* impossible day of month/);
    expect(ran).toEqual(checked);
  });

  it('warns of a variable that looks like a slip', async () => {
    const { code, stderr } = await runCommandLine(['check-config'], {
      env: { ...settings, REQUESTS_LEASE: '1000' },
    });

    expect(code).toBe(0);
    expect(stderr).toBe('warning: REQUESTS_LEASE is ignored; did you mean REQUESTS_LEASE_MS?');
  });
});
