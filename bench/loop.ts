// Runs one of the loops that scans are compared with, in a process of its own with the daemon's Node options.
import { startProcess } from '../test/support/process.js';
import { nodeFlags } from './scan-run.js';
import type { Build } from './build.js';

export type Loop = 'bare' | 'upsert-each' | 'bulk-pages';

export interface LoopFigures {
  readonly customers: number;
  readonly seconds: number;
  readonly customersPerSecond: number;
  readonly peakRssMiB: number;
}

export async function runLoop(
  name: Loop,
  built: Build,
  { stripe, uri }: { stripe: { url: string; key: string }; uri: string },
): Promise<LoopFigures> {
  const { exit, lines } = startProcess({
    entry: await built.script('loop-process.ts'),
    args: [name],
    nodeArgs: nodeFlags,
    env: { STRIPE_API_BASE: stripe.url, STRIPE_API_KEY: stripe.key, MONGODB_URI: uri },
  });
  const { code } = await exit;
  const last = lines.at(-1);
  if (code !== 0 || last?.json === undefined) throw new Error(lines.map(({ text }) => text).join('\n'));
  return last.json as unknown as LoopFigures; // loop-process.ts writes it
}
