import { describe, expect, it } from 'vitest';
import { callCommandLine } from '../support/cli.js';

/** Runs a command line that ends before it reads settings or connects. */
async function run(
  args: string[],
  input?: string | Buffer,
): Promise<{ code: number | null; out: string; err: string[] }> {
  const { code, stdout, stderr } = await callCommandLine(args, {}, input === undefined ? {} : { input });
  return { code, out: stdout, err: stderr === '' ? [] : stderr.split('\n') };
}

describe('a command line that cannot be used', () => {
  it.each([
    { args: [], says: 'Usage: stripe-mongo-sync [options] [command]' },
    { args: ['sync-al'], says: '(Did you mean sync-all?)' },
    { args: ['sync-all', '--dryrun'], says: '(Did you mean --dry-run?)' },
    {
      args: ['sync-all', 'cus_1'],
      says: "error: too many arguments for 'sync-all'. Expected 0 arguments but got 1.",
    },
    {
      args: ['sync-all', '--timeout', 'soon'],
      says: "error: option '--timeout <seconds>' argument 'soon' is invalid. It must be a number of seconds above 0, at most 2000000.",
    },
    {
      args: ['sync-all', '--no-wait', '--in-process'],
      says: "error: option '--no-wait' cannot be used with option '--in-process'",
    },
    {
      args: ['sync-all', '--timeout', '5', '--no-wait'],
      says: "error: option '--no-wait' cannot be used with option '--timeout <seconds>'",
    },
    { args: ['sync-by-ids'], says: "error: missing required argument 'id'" },
    {
      args: ['sync-batch', '-', '--observed-at', 'noon'],
      says: "error: option '--observed-at <time>' argument 'noon' is invalid. It must be a time such as 2026-01-31T12:00:00Z.",
    },
    {
      args: ['sync-batch', 'nowhere.json'],
      says: 'error: FILE must be a readable file or - for standard input, got "nowhere.json" (ENOENT)',
    },
    {
      args: ['approve-removals', ''],
      says: 'error: The id of a request must have 1 to 256 characters, got 0',
    },
    { args: ['requests'], says: 'Usage: stripe-mongo-sync requests [options] [command]' },
    { args: ['requests', 'lsit'], says: '(Did you mean list?)' },
    { args: ['requests', 'show'], says: "error: missing required argument 'id'" },
    {
      args: ['requests', 'list', '--status', 'done'],
      says: "error: option '--status <status>' argument 'done' is invalid. Statuses are pending, running, succeeded, partial, failed, cancelled, coalesced.",
    },
    {
      args: ['requests', 'list', '--limit', '0'],
      says: "error: option '--limit <number>' argument '0' is invalid. It must be a whole number from 1 to 1000.",
    },
    {
      args: ['requests', 'cancel', '6b04f49e7e477548fafae5cd', 'x'.repeat(257)],
      says: 'error: The id of a request must have 1 to 256 characters, got 257',
    },
    ...[
      ['requests', 'retry'],
      ['requests', 'retry', 'nightly', '--failed'],
      ['requests', 'retry', 'nightly', '--command', 'syncAll'],
    ].map((args) => ({
      args,
      says: 'error: Give either ids, or --failed, which --command, --requested-by and --since narrow',
    })),
    {
      args: ['requests', 'retry', '--failed', '--since', 'yesterday'],
      says: "error: option '--since <time>' argument 'yesterday' is invalid. It must be a time such as 2026-01-31T12:00:00Z.",
    },
    { args: ['sync-batch', '-'], says: 'error: standard input holds no customers' },
  ])('ends with 2 and says what is wrong: $args', async ({ args, says }) => {
    const { code, out, err } = await run(args);

    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(says);
  });

  it('has every id named that cannot be one, and no address repeated', async () => {
    const { code, err } = await run(['sync-by-ids', 'cus_1', '', `jane@example.com${'x'.repeat(255)}`]);

    expect(code).toBe(2);
    expect(err).toEqual([
      'error: Each id must be an id such as cus_123 (1 to 255 characters, none of them NUL), got ""',
      'error: Each id must be an id such as cus_123 (1 to 255 characters, none of them NUL), got a string of 271 characters with "@"',
    ]);
  });

  it('has the place named of a customer that is too large for any request', async () => {
    const large = JSON.stringify({ id: 'cus_2', description: 'x'.repeat(5_000_000) });

    const { code, err } = await run(['sync-batch', '-'], `{"id": "cus_1"}\n${large}\n`);

    expect(code).toBe(2);
    expect(err).toEqual([
      'error: standard input: line 2: batch must have at most 4194304 bytes, got 5000057 bytes',
    ]);
  });

  it('is refused where the text is no UTF-8', async () => {
    const { code, err } = await run(['sync-batch', '-'], Buffer.from('"J\xf6rg"', 'latin1'));

    expect({ code, err }).toEqual({
      code: 2,
      err: ['error: standard input must be text in UTF-8'],
    });
  });
});

it.each([
  'sync-all',
  'sync-by-ids',
  'sync-batch',
  'soft-delete',
  'approve-removals',
  'run',
  'check-config',
  'requests',
  'status',
  'help',
])('explains %s', async (command) => {
  const { code, out, err } = await run([command, '--help']);

  expect({ code, err }).toEqual({ code: 0, err: [] });
  expect(out).toMatch(new RegExp(`^Usage: stripe-mongo-sync ${command} `));
});
