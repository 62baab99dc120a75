// Ctrl-C in a terminal is a signal to every process of the foreground group: it shall reach whoever has started a daemon, not the daemon.
import { expect, test } from 'vitest';
import { startProcess } from '../support/process.js';

test('Ctrl-C is for whoever has started MongoDB and the daemon, who stops them in order', async () => {
  const starter = startProcess({ entry: 'test/support/fixtures/like-the-demo.process.ts' });
  await starter.waitForLine(({ json }) => json?.['uri'] !== undefined, {
    what: 'the start',
    timeoutMs: 60_000,
  });

  process.kill(-starter.pid, 'SIGINT');

  const { json } = await starter.waitForLine(({ json }) => json?.['daemon'] !== undefined, {
    what: 'the stop',
  });
  expect(json).toEqual({ daemon: 0, isMongodRunning: true });
  expect(await starter.exit).toEqual({ code: 0, signal: null });
});
