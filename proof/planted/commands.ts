// Runs git and vitest, each in a process group of its own, which ends as a whole: at its time limit, or when we end.
import { spawn } from 'node:child_process';

export interface Ended {
  /** Null: ended by a signal. */
  readonly code: number | null;
  readonly isLate: boolean;
  /** Standard output and error, in order of arrival. */
  readonly output: string;
}

interface Options {
  readonly cwd: string;
  readonly timeoutMs: number;
  readonly env?: NodeJS.ProcessEnv;
}

/** How long a group may take to end by itself after SIGTERM. */
const graceMs = 5_000;

const groups = new Set<number>();

/** Runs a command to its end. @throws Error where it cannot be started */
export function run(
  command: string,
  args: readonly string[],
  { cwd, timeoutMs, env = process.env }: Options,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const { pid } = child;
    if (pid !== undefined) groups.add(pid);
    let output = '';
    let isLate = false;
    let force: NodeJS.Timeout | undefined;
    const keep = (text: string): void => {
      output = (output + text).slice(-100_000);
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    const limit = setTimeout(() => {
      isLate = true;
      endGroup(pid, 'SIGTERM');
      force = setTimeout(() => endGroup(pid, 'SIGKILL'), graceMs);
    }, timeoutMs);
    const over = (): void => {
      clearTimeout(limit);
      clearTimeout(force);
      endGroup(pid, 'SIGKILL'); // what it may have left behind
      if (pid !== undefined) groups.delete(pid);
    };
    child.once('error', (error) => {
      over();
      reject(error);
    });
    child.once('exit', (code) => {
      over();
      resolve({ code, isLate, output });
    });
  });
}

/** Ends every command that still runs. */
export function endAll(): void {
  for (const pid of groups) endGroup(pid, 'SIGKILL');
}

function endGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // The group has ended.
  }
}
