// Start and stop of a process: signals, exit codes, and a stack of closers that always runs and is bounded in
// time. Apart from main.ts, only this file ends the process: at a second signal and at an uncaught error.
import { Fault, isFault } from './errors.js';
import type { Logger } from './logger.js';
import { firstOf, withDeadline } from './waiting.js';

/** 0: success. 1: a fault. 2: usage or configuration. */
export type ExitCode = 0 | 1 | 2;

/**
 * Releases what was started. `withinMs` is its share of the remaining time, in milliseconds. A closer that
 * waits for work must give up after that time. The stop abandons a closer that takes a quarter longer. If it
 * throws, the error is logged and the exit code is 1.
 */
type Closer = (withinMs: number) => void | Promise<void>;

export interface LifecycleOptions {
  readonly logger: Logger;
  /** Longest time from the start of the stop to its end, in milliseconds (`shutdown.timeoutMs`). */
  readonly timeoutMs: number;
  /** Whether SIGTERM and SIGINT are handled, and uncaught errors end the process. */
  readonly ownsProcess: boolean;
  /** The process, for tests. */
  readonly host?: ProcessHost;
}

/** The part of `process` that is used. */
interface ProcessHost {
  on(event: string, listener: (value: unknown) => void): unknown;
  off(event: string, listener: (value: unknown) => void): unknown;
  exit(code: ExitCode): unknown;
}

/** What the work of a process receives. */
export interface Lifecycle {
  /** Aborted when the stop begins, with a Fault `shutdown` or with the error of `fail`. */
  readonly signal: AbortSignal;
  /**
   * Registers `close` for the stop; last in, first out. If everything else is already closed, `close` runs at
   * once.
   */
  onStop(name: string, close: Closer): void;
  /** Begins the stop. Only the first call counts. */
  stop(reason: string): void;
  /** Begins the stop because of an error in the background: exit code 1, or 2 for a configuration fault. */
  fail(error: unknown): void;
  /** Resolves when the stop begins. */
  untilStop(): Promise<void>;
}

/** The exit code that an error ends the process with. */
export const exitCodeOf = (error: unknown): ExitCode =>
  isFault(error) && error.code === 'invalid_config' ? 2 : 1;

/**
 * Runs `work`, then every registered closer, whether the work returned, threw or was stopped. A closer that
 * throws or hangs does not block the others. Never rejects: errors are logged and become the exit code. The
 * caller must end the process with that code, because an abandoned closer may keep it alive.
 */
export async function runLifecycle(
  options: LifecycleOptions,
  work: (lifecycle: Lifecycle) => Promise<void>,
): Promise<ExitCode> {
  const lifecycle = new Stoppable(options);
  const disown = options.ownsProcess ? ownProcess(lifecycle, options) : () => undefined;
  const exitCode = await lifecycle.run(work);
  disown();
  if (options.ownsProcess) options.logger.info({ exitCode }, 'Stopped');
  return exitCode;
}

interface NamedCloser {
  readonly name: string;
  readonly close: Closer;
}

class Stoppable implements Lifecycle {
  readonly #controller = new AbortController();
  readonly #closers: NamedCloser[] = [];
  readonly #logger: Logger;
  readonly #timeoutMs: number;
  #failure: { error: unknown } | undefined;
  #deadlineAt = Infinity;
  #isTidy = true;
  #isClosed = false;

  constructor({ logger, timeoutMs }: LifecycleOptions) {
    this.#logger = logger;
    this.#timeoutMs = timeoutMs;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  onStop(name: string, close: Closer): void {
    this.#closers.push({ name, close });
    // Work that ignored the stop may still open something after everything was closed.
    if (this.#isClosed) void this.#closeAll();
  }

  stop(reason: string): void {
    this.#begin(new Fault('shutdown', reason));
  }

  fail(error: unknown): void {
    if (this.#begin(error)) this.#failure = { error };
    else if (!this.#isStop(error)) {
      this.#isTidy = false;
      this.#logger.error({ err: error }, 'Fault while stopping');
    }
  }

  untilStop(): Promise<void> {
    return new Promise((resolve) => {
      if (this.signal.aborted) resolve();
      else this.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  async run(work: (lifecycle: Lifecycle) => Promise<void>): Promise<ExitCode> {
    const working = work(this).catch((error: unknown) => {
      if (!this.#isStop(error)) this.fail(error);
    });
    await firstOf([working, this.untilStop()]);
    this.#begin(new Fault('shutdown', 'Done'));
    // The work ends first, because it may be about to register a resource that it has just opened.
    await this.#inTime('work', async () => working);
    await this.#closeAll();
    this.#isClosed = true;
    if (this.#failure) {
      this.#logger.fatal({ err: this.#failure.error }, 'Ended by a fault');
      return exitCodeOf(this.#failure.error);
    }
    return this.#isTidy ? 0 : 1;
  }

  #begin(reason: unknown): boolean {
    if (this.signal.aborted) return false;
    this.#deadlineAt = performance.now() + this.#timeoutMs;
    this.#controller.abort(reason);
    return true;
  }

  /** True for errors caused by the stop: its own reason, rethrown or wrapped, or an abort. */
  #isStop(error: unknown): boolean {
    if (!this.signal.aborted || !(error instanceof Error)) return false;
    const { reason } = this.signal as { reason: unknown }; // `any` in the library's types
    return (
      error === reason ||
      error.cause === reason ||
      error.name === 'AbortError' ||
      (isFault(error) && error.code === 'shutdown')
    );
  }

  async #closeAll(): Promise<void> {
    for (let closer = this.#closers.pop(); closer; closer = this.#closers.pop()) {
      const { name, close } = closer;
      await this.#inTime(name, async (withinMs) => close(withinMs));
    }
  }

  /** Runs one step of the stop. The step may use the remaining time, minus a reserve for the later steps. */
  async #inTime(name: string, step: Closer): Promise<void> {
    const after = this.#closers.length;
    const reserveMs = Math.min(1_000, this.#timeoutMs / (2 * (after + 1)));
    const leftMs = Math.max(reserveMs, this.#deadlineAt - performance.now() - after * reserveMs);
    try {
      const ended = await withDeadline(
        leftMs,
        () => step(leftMs * 0.8),
        () => 'timed_out' as const,
      );
      if (ended !== 'timed_out') return;
      const fields = { step: name, timeoutMs: Math.round(leftMs) };
      this.#logger.error(fields, 'Step did not stop in time; continuing shutdown without it');
    } catch (error) {
      this.#logger.error({ step: name, err: error }, 'Step failed to stop; continuing shutdown without it');
    }
    this.#isTidy = false;
  }
}

/** Handles signals and uncaught errors; returns a function that removes the handlers. */
function ownProcess(
  lifecycle: Lifecycle,
  { logger, timeoutMs, host = process }: LifecycleOptions,
): () => void {
  let isSecond = false;
  const onSignal = (name: string) => () => {
    if (isSecond) {
      logger.warn({ signal: name }, 'Second signal; exiting now');
      host.exit(1);
      return;
    }
    isSecond = true;
    logger.info({ signal: name, timeoutMs }, 'Stopping');
    lifecycle.stop(`Stopped by ${name}`);
  };
  // The state of the process is unknown after such an error. Another replica takes over when the leases end.
  const onUncaught = (error: unknown) => {
    logger.fatal({ err: error }, 'Uncaught error; exiting now');
    host.exit(1);
  };
  const listeners = [
    ['SIGTERM', onSignal('SIGTERM')],
    ['SIGINT', onSignal('SIGINT')],
    ['uncaughtException', onUncaught],
    ['unhandledRejection', onUncaught],
  ] as const;
  for (const [event, listener] of listeners) host.on(event, listener);
  return () => {
    for (const [event, listener] of listeners) host.off(event, listener);
  };
}
