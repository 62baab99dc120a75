import { mongo } from 'mongoose';
import { describe, expect, it } from 'vitest';
import { errorsOf, onlyRequest, runCommandLine } from '../support/cli.js';
import { freshDatabase } from '../support/database.js';
import { startProcess } from '../support/process.js';

describe('a command without a daemon', () => {
  it('asks after some seconds whether one is running, goes on waiting, and ends on Ctrl-C', async () => {
    const database = freshDatabase();
    const running = startProcess({ args: ['soft-delete', 'cus_1'], env: { MONGODB_URI: database.uri } });

    await running.waitForLine(({ text }) => text.includes('No daemon has claimed it yet'));
    expect(errorsOf(running)).toContain(`the database "${database.name}"`);
    running.signal('SIGINT');

    expect(await running.exit).toEqual({ code: 130, signal: null });
    expect(errorsOf(running)).toContain('No longer followed; the work continues:');
    const request = await onlyRequest(database);
    expect(request).toEqual({
      _id: expect.any(mongo.ObjectId) as unknown,
      command: 'softDelete',
      stripeId: 'cus_1',
      requestedBy: 'cli',
    });
    const id = String(request?.['_id']);
    expect(errorsOf(running)).toContain(`stripe-mongo-sync requests watch ${id}\n`);
    expect(errorsOf(running)).toContain(`stripe-mongo-sync requests cancel ${id}`);
  });

  it('ends with 1 after --timeout', async () => {
    const database = freshDatabase();

    const { code, stdout, stderr } = await runCommandLine(['soft-delete', 'cus_1', '--timeout', '0.5'], {
      env: { MONGODB_URI: database.uri },
    });

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('error: The request has not ended within 0.5 s');
    expect(await onlyRequest(database)).toBeDefined();
  });

  it('ends with 1 when MongoDB cannot be reached in time, and says so once', async () => {
    const { code, stdout, stderr } = await runCommandLine(['sync-all'], {
      env: {
        MONGODB_URI: 'mongodb://user:canary@127.0.0.1:1/x',
        MONGODB_CONNECT_DEADLINE_MS: '1000',
        LOG_LEVEL: 'error',
      },
    });

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(
      /^error: MongoDB did not answer while connecting; see MONGODB_URI, given up after 1000 ms$/,
    );
  });
});
