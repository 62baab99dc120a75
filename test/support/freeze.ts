// Stops a process where it stands and lets it go on. SIGSTOP alone returns before every thread has stopped.
import { readFile, readdir } from 'node:fs/promises';
import { runCommand } from './run-command.js';
import { until } from './until.js';

/** Sends SIGSTOP to one of our own processes and waits until all of it stands still: connections stay open, nothing answers. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await until(async () => (await threadStates(pid)).every((state) => state.startsWith('T')), {
    what: `process ${pid} to stand still`,
    timeoutMs: 5_000,
    intervalMs: 5,
  });
}

/** Lets a frozen process go on (SIGCONT). */
export function thaw(pid: number): void {
  process.kill(pid, 'SIGCONT');
}

/** The letters of proc(5) and ps(1), one a thread where the system tells; T is stopped. */
async function threadStates(pid: number): Promise<string[]> {
  if (process.platform !== 'linux') {
    const output = await runCommand('ps', ['-o', 'state=', '-p', String(pid)], { timeoutMs: 5_000 });
    return [output.trim()];
  }
  const threads = await readdir(`/proc/${pid}/task`);
  return Promise.all(
    threads.map(async (thread) => {
      const line = await readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8');
      return line.slice(line.lastIndexOf(')') + 2); // the command's name before it may hold anything
    }),
  );
}
