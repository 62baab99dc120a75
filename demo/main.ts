// `npm run demo`: the whole system on this machine, shown and checked. With `--stay` it is left running to play with.
// With STRIPE_API_KEY set it mirrors that account instead of the simulator's: read-only, at the default rate.
import { mirrorAccount } from './account.js';
import { Checks } from './checks.js';
import { CtrlC, interruptedCode, Interruption } from './ctrl-c.js';
import { note } from './show.js';
import { showAll } from './story.js';
import { releaseTo } from '../test/support/cleanup.js';

const isStaying = process.argv.includes('--stay');
const apiKey = process.env['STRIPE_API_KEY'];
const checks = new Checks();
const ctrlC = new CtrlC();

/** Left running: prints what to type, and ends on Ctrl-C. */
async function stay(lines: readonly string[]): Promise<void> {
  for (const line of lines) note(line);
  await ctrlC.awaited();
}

/** Ends everything and this process. What still waits for something would hold it open. */
async function end(code: number): Promise<never> {
  await releaseTo().catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
  });
  process.exit(code);
}

try {
  await ctrlC.unlessPressed(
    apiKey === undefined || apiKey === ''
      ? showAll(checks, isStaying ? stay : undefined)
      : mirrorAccount(apiKey, checks, isStaying ? stay : undefined),
  );
} catch (error) {
  if (error instanceof Interruption) {
    process.stdout.write('\nInterrupted: ending MongoDB and the daemon\n');
    await end(interruptedCode);
  }
  checks.failures.push(error instanceof Error ? error.message : String(error));
}
process.stdout.write(`\n${checks.summary()}\n`);
await end(checks.failures.length === 0 ? 0 : 1);
