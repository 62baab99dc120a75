// `npm run demo`: the whole system on this machine, shown and checked. With `--stay` it is left running to play with.
// With STRIPE_API_KEY set it mirrors that account instead of the simulator's: read-only, at the default rate.
import { once } from 'node:events';
import { mirrorAccount } from './account.js';
import { Checks } from './checks.js';
import { note } from './show.js';
import { showAll } from './story.js';
import { releaseTo } from '../test/support/cleanup.js';

const isStaying = process.argv.includes('--stay');
const apiKey = process.env['STRIPE_API_KEY'];
const checks = new Checks();
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());

/** Left running: prints what to type, and ends on Ctrl-C. */
async function stay(lines: readonly string[]): Promise<void> {
  for (const line of lines) note(line);
  if (!stop.signal.aborted) await once(stop.signal, 'abort');
}

try {
  await (apiKey === undefined || apiKey === ''
    ? showAll(checks, isStaying ? stay : undefined)
    : mirrorAccount(apiKey, checks, isStaying ? stay : undefined));
} catch (error) {
  checks.failures.push(error instanceof Error ? error.message : String(error));
} finally {
  await releaseTo();
}
process.stdout.write(`\n${checks.summary()}\n`);
process.exitCode = checks.failures.length === 0 ? 0 : 1;
