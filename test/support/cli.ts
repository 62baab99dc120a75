// Runs commands of the command line, and looks at what they have done.
import { PassThrough, Readable } from 'node:stream';
import type { mongo } from 'mongoose';
import type { Screen, Terminal } from '../../src/cli/screen/terminal.js';
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

export interface CallOptions {
  /** A terminal that the result goes to. */
  screen?: Screen;
  /** Standard input; nothing by default. */
  input?: string | Buffer;
  /** Somebody types the input at a terminal. */
  isTyped?: boolean;
}

/**
 * The same command line within this process, which takes a fraction of the time; one at a time, as it uses
 * mongoose's own connection.
 */
export async function callCommandLine(
  args: string[],
  env: Record<string, string> = {},
  { screen, input, isTyped = false }: CallOptions = {},
): Promise<CommandRun> {
  const { runCommandLine: run } = await import('../../src/cli/commands.js');
  const written: { out: string[]; err: string[] } = { out: [], err: [] };
  const terminal: Terminal = {
    stdin: Object.assign(Readable.from(input === undefined ? [] : [Buffer.from(input)]), { isTTY: isTyped }),
    stderr: Object.assign(new PassThrough(), { isTTY: false }) as unknown as NodeJS.WriteStream, // no more of it is used
    screen,
    makeWay: () => () => undefined,
    result: (text) => void written.out.push(text),
    note: (text) => void written.err.push(text),
  };
  const before = { ...process.env };
  Object.assign(process.env, env);
  try {
    const code = await run(args, terminal);
    return { code, stdout: written.out.join('\n'), stderr: written.err.join('\n') };
  } finally {
    for (const name of Object.keys(env)) delete process.env[name];
    Object.assign(process.env, before);
  }
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
