// What the user typed or handed over cannot be used: exit code 2. Nothing has been changed anywhere.
import { constants } from 'node:os';
import { Fault, isFault } from '../base/errors.js';
import { createLogger } from '../base/logger.js';
import { ConfigFault } from '../config/load.js';
import type { Terminal } from './screen/terminal.js';

/** `faults` has one sentence each; they hold no customers' data. */
export class UsageFault extends Fault {
  constructor(readonly faults: readonly string[]) {
    super('invalid_request', faults.join('; '), { kind: 'fatal' });
  }
}

const mostTold = 20;

/** The first twenty, and how many more there are. */
export function limitedFaults(faults: readonly string[]): readonly string[] {
  const more = faults.length - mostTold;
  return more > 0 ? [...faults.slice(0, mostTold), `${more} more faults of this kind`] : faults;
}

// What was asked for cannot be done as things are: exit code 1, one sentence, nothing changed.
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

// The exit codes of every command, each with its meaning, and what an error's is.
export const exitCodes = {
  succeeded: 0,
  /** A fault, or a request that ended in any other way than succeeded. */
  failed: 1,
  /** What was typed or configured cannot be used. */
  usage: 2,
} as const;

/** Codes above 128 are those of shells: 128 and the number of the signal. */
export type ExitCode = number;

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof Interrupted) return error.exitCode;
  const isUsage = isFault(error) && (error.code === 'invalid_config' || error.code === 'invalid_request');
  return isUsage ? exitCodes.usage : exitCodes.failed;
}

// An error as a person reads it on stderr: one clear sentence for each fault, a stack for nobody but the maintainers.
/** Tells what went wrong. What nobody expected is logged with the lines of its stack, without its message, which may quote a document. */
export function complain(terminal: Terminal, error: unknown): void {
  if (error instanceof Interrupted) return;
  if (isFault(error) || error instanceof OutOfTime || error instanceof Refusal) {
    terminal.note(complaintOf(error));
    return;
  }
  createLogger({ level: 'error', format: 'auto' }, 'stderr').fatal({ err: error }, 'Unexpected error');
}

function complaintOf(error: Fault | OutOfTime | Refusal): string {
  const hasFaults = error instanceof ConfigFault || error instanceof UsageFault;
  const faults = hasFaults ? error.faults : [error.message];
  return faults.map((each) => `error: ${each}`).join('\n');
}

// What ends a command's wait before its time: Ctrl-C or SIGTERM (a second one ends the process at once), or `--timeout`.
const signals = ['SIGINT', 'SIGTERM'] as const;

/** The reason of an abort by a signal. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly exitCode: number;

  constructor(private readonly by: (typeof signals)[number]) {
    super(`Interrupted by ${by}`);
    this.exitCode = 128 + constants.signals[by];
  }

  get isCtrlC(): boolean {
    return this.by === 'SIGINT';
  }
}

/** The reason of an abort by `--timeout`. */
class OutOfTime extends Error {
  override readonly name = 'OutOfTime';

  constructor(seconds: number) {
    super(`The request has not ended within ${seconds} s`);
  }
}

/** Runs the task with a signal that is aborted by SIGINT or SIGTERM; its reason is `Interrupted`. */
export async function interruptibly<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interrupt = (by: (typeof signals)[number]): void => {
    // With no listener left, the next signal does what signals do.
    release();
    controller.abort(new Interrupted(by));
  };
  const release = (): void => signals.forEach((signal) => process.off(signal, interrupt));

  signals.forEach((signal) => process.on(signal, interrupt));
  try {
    return await task(controller.signal);
  } finally {
    release();
  }
}

/** Runs the task with a signal that is also aborted after the time; its reason is `OutOfTime`. Without a time nothing is added. */
export async function withinSeconds<T>(
  seconds: number | undefined,
  signal: AbortSignal,
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (seconds === undefined) return task(signal);
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new OutOfTime(seconds)), seconds * 1_000);
  try {
    return await task(AbortSignal.any([signal, controller.signal]));
  } finally {
    clearTimeout(timer);
  }
}
