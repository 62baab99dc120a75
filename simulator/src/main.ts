// The simulator as a process: prints one line of JSON when it listens, ends on SIGTERM, SIGINT or without its parent.
import { fstatSync } from 'node:fs';
import { z } from 'zod';
import { parseCommandLine, USAGE } from './cli-options.js';
import { startSimulator } from './simulator.js';

try {
  const simulator = await startSimulator({ ...parseCommandLine(process.argv.slice(2)), control: true });
  const { url, port, key, restrictedKey } = simulator;
  let isEnding = false;
  const end = (): void => {
    if (isEnding) return;
    isEnding = true;
    simulator.close().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  process.once('disconnect', end);
  endWithStdin(end);
  console.log(JSON.stringify({ url, port, key, restrictedKey, pid: process.pid }));
} catch (error) {
  const message = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
  console.error(`${message}\n\n${USAGE}`);
  process.exitCode = 2;
}

/** A pipe ends with the parent that holds its other end; a terminal or /dev/null says nothing about a parent. */
function endWithStdin(end: () => void): void {
  const stdin = fstatSync(0);
  if (!stdin.isFIFO() && !stdin.isSocket()) return;
  process.stdin.once('end', end).once('error', end).resume();
}
