// The exit codes of every command, the errors that end a command, and how each error is printed on stderr.
import { constants } from 'node:os';
import { Fault, isFault } from '../base/errors.js';
import { createLogger } from '../base/logger.js';
import { ConfigFault } from '../config/load.js';
import type { Terminal } from './screen/terminal.js';

/**
 * The user's arguments or input are unusable: exit code 2, nothing was changed. `faults` has one sentence
 * each and no customer data.
 */
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

/** The current state does not allow the command: exit code 1, nothing was changed. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

export const exitCodes = {
  succeeded: 0,
  /** A fault, or a request whose final status is not succeeded. */
  failed: 1,
  /** An argument or a setting is unusable. */
  usage: 2,
} as const;

/** As in shells: 128 plus the number of the signal. */
export type ExitCode = number;

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof Interrupted) return error.exitCode;
  const isUsage = isFault(error) && (error.code === 'invalid_config' || error.code === 'invalid_request');
  return isUsage ? exitCodes.usage : exitCodes.failed;
}

/**
 * Prints one sentence for each fault. An unexpected error is logged with its stack, without its message: that
 * may quote a document.
 */
export function complain(terminal: Terminal, error: unknown): void {
  if (error instanceof Interrupted) return;
  if (isFault(error) || error instanceof OutOfTime || error instanceof Refusal) {
    const hasFaults = error instanceof ConfigFault || error instanceof UsageFault;
    const faults = hasFaults ? error.faults : [error.message];
    terminal.note(faults.map((each) => `error: ${each}`).join('\n'));
    return;
  }
  createLogger({ level: 'error', format: 'auto' }, 'stderr').fatal({ err: error }, 'Unexpected error');
}

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
export class OutOfTime extends Error {
  override readonly name = 'OutOfTime';

  constructor(seconds: number) {
    super(`The request has not ended within ${seconds} s`);
  }
}

/**
 * Runs the task with a signal that SIGINT or SIGTERM aborts with `Interrupted`. A second signal ends the
 * process at once.
 */
export async function interruptibly<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interrupt = (by: (typeof signals)[number]): void => {
    // With no listener left, the next signal has its default effect.
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
