// Runs commands of the command line, and looks at what they have done.
import type { mongo } from 'mongoose';
import type { FreshDatabase } from './database.js';
import { type Line, type ProcessOptions, type RunningProcess, startProcess } from './process.js';

export interface CommandRun {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** The real command line as a process of its own; see `startProcess`. */
export async function runCommandLine(
  args: string[],
  options: Omit<ProcessOptions, 'args'> = {},
): Promise<CommandRun> {
  const started = startProcess({ args, ...options });
  const { code } = await started.exit;
  const { lines } = started;
  return { code, stdout: textOf(lines, 'stdout'), stderr: textOf(lines, 'stderr') };
}

/** What it has written to stderr so far. */
export const errorsOf = ({ lines }: RunningProcess): string => textOf(lines, 'stderr');

/** The request that a command has inserted, or undefined; fails when there are more. */
export async function onlyRequest({ db }: FreshDatabase): Promise<mongo.Document | undefined> {
  const found = await db.collection('sync_requests').find().toArray();
  if (found.length > 1) throw new Error(`Expected one request at most, found ${found.length}`);
  return found[0];
}

const textOf = (lines: readonly Line[], stream: Line['stream']): string =>
  lines
    .filter((line) => line.stream === stream)
    .map(({ text }) => text)
    .join('\n');
