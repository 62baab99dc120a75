// What the commands that make requests have in common on the command line.
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Job, RequestCommandOptions } from './ask.js';
import type { ExitCode } from './faults.js';
import type { Terminal } from './screen/terminal.js';

/** Adds the options that all of them have. */
export function withRequestOptions(command: Command): Command {
  return command
    .option('--dry-run', 'find out what would change; nothing is written to the mirror')
    .option('--in-process', 'run it here and now instead of waiting for a daemon (needs the Stripe key)')
    .option('--json', 'print the final request document as JSON, one line each')
    .addOption(new Option('--no-wait', 'insert it, print its id and end').conflicts(['inProcess', 'timeout']))
    .option('--timeout <seconds>', 'stop following after so long; the request itself goes on', parseSeconds);
}

/** Seconds of an option. @throws InvalidArgumentError */
export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= longestTimeoutSeconds)) {
    throw new InvalidArgumentError(
      `It must be a number of seconds above 0, at most ${longestTimeoutSeconds}.`,
    );
  }
  return seconds;
}

/** A time of an option. @throws InvalidArgumentError */
export function parseTime(text: string): Date {
  const time = new Date(text);
  if (!/^\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(time.getTime())) {
    throw new InvalidArgumentError('It must be a time such as 2026-01-31T12:00:00Z.');
  }
  return time;
}

/** Timers hold no more milliseconds than 31 bits. */
const longestTimeoutSeconds = 2_000_000;

/** Inserts the requests and follows them; see run-job.ts. Loaded only now, so that help and refusals do not wait for drivers. */
export async function submit(
  terminal: Terminal,
  options: RequestCommandOptions,
  job: Job,
): Promise<ExitCode> {
  const { runJob } = await import('./ask.js');
  return runJob(terminal, options, job);
}
