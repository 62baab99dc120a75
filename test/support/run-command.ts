// Runs a short-lived command to its end, within a deadline. The daemon itself is started by process.ts.
import { spawn } from 'node:child_process';

export interface CommandOptions {
  env?: NodeJS.ProcessEnv;
  /** The working folder; ours by default. */
  cwd?: string;
  /** Milliseconds until the command is killed. */
  timeoutMs: number;
  /** Ends the command early. */
  signal?: AbortSignal;
}

/** The command's output. Throws when it cannot start, fails or takes too long, with the end of what it said. */
export function runCommand(command: string, args: string[], options: CommandOptions): Promise<string> {
  const { env = process.env, cwd, timeoutMs, signal } = options;
  return new Promise((resolve, reject) => {
    const deadline = AbortSignal.timeout(timeoutMs);
    const child = spawn(command, args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: signal ? AbortSignal.any([deadline, signal]) : deadline,
      killSignal: 'SIGKILL',
      ...(cwd === undefined ? {} : { cwd }),
    });

    let output = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (complaint += chunk));
    child.on('error', (error) => {
      if (signal?.aborted) {
        reject(new Error(String(signal.reason instanceof Error ? signal.reason.message : signal.reason)));
      } else if (deadline.aborted) {
        reject(new Error(`took longer than ${timeoutMs} ms`));
      } else {
        reject(error);
      }
    });
    child.on('close', (code, killedBy) => {
      if (code === 0) {
        resolve(output);
      } else {
        reject(new Error(`ended with ${code ?? killedBy ?? 'nothing'}: ${lastLine(complaint || output)}`));
      }
    });
  });
}

/** The last line that says something, cut to what fits into a message. */
function lastLine(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  return (lines.findLast((line) => line !== '') ?? 'no message').slice(0, 300);
}
