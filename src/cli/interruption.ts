// What ends a command's wait before its time: Ctrl-C or SIGTERM (a second one ends the process at once), or `--timeout`.
import { constants } from 'node:os';

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
