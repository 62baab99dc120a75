// Waits, races against a deadline or a signal, and backoff: the one place for all of them.
import { setMaxListeners } from 'node:events';

/** Node fires a longer timer at once (https://nodejs.org/api/timers.html#settimeoutcallback-delay-args). */
export const longestTimerMs = 2 ** 31 - 1;

/**
 * Waits for `ms` milliseconds, at most `longestTimerMs`. True when the time has passed, false when a signal
 * ended the wait.
 */
export function pause(ms: number, ...signals: readonly AbortSignal[]): Promise<boolean> {
  // Not timers/promises: it ends an aborted wait with an error and a stack trace. That is expensive with two
  // waits per request.
  return new Promise((resolve) => {
    if (signals.some(({ aborted }) => aborted)) {
      resolve(false);
      return;
    }
    const end = (hasPassed: boolean): void => {
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener('abort', onAbort);
      resolve(hasPassed);
    };
    const onAbort = (): void => end(false);
    const timer = setTimeout(end, Math.min(Math.max(0, ms), longestTimerMs), true);
    // One listener per wait: Node warns of a leak if many listen on one signal.
    setMaxListeners(0, ...signals);
    for (const signal of signals) signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Ends the waits on the controller's signal. The reason avoids the default, an error with its stack. */
export const endWaits = (controller: AbortController): void => controller.abort('over');

/**
 * Returns the result of the task. After `ms` milliseconds it returns the result of `whenLate` instead, aborts
 * the task's signal and ignores the task's result.
 * @throws what the task or `whenLate` throws
 */
export async function withDeadline<T, Late>(
  ms: number,
  task: (signal: AbortSignal) => T | Promise<T>,
  whenLate: () => Late,
): Promise<T | Late> {
  const late = new AbortController();
  const done = new AbortController();
  const running = (async (): Promise<T | Late> => task(late.signal))();
  const deadline = pause(ms, done.signal).then((hasPassed): Late | Promise<T | Late> => {
    if (!hasPassed) return running;
    endWaits(late);
    return whenLate();
  });
  try {
    return await Promise.race([running, deadline]);
  } finally {
    endWaits(done);
  }
}

/** True if `promise` resolves within the time. @throws what the promise rejects with before */
export const isDoneWithin = (promise: Promise<unknown>, ms: number): Promise<boolean> =>
  withDeadline(
    ms,
    () => promise.then(() => true),
    () => false,
  );

export interface Backoff {
  /** Upper bound of the first wait, in milliseconds. */
  readonly baseMs: number;
  readonly maxMs: number;
}

/**
 * Backoff in milliseconds after the given number of consecutive failures (1, 2, …). The upper bound doubles
 * with each failure, and `random` picks a share of it. `Math.random` gives full jitter; without `random` the
 * result is the upper bound.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export const backoffMs = (
  { baseMs, maxMs }: Backoff,
  failures: number,
  random: () => number = () => 1,
): number => random() * Math.min(maxMs, baseMs * 2 ** Math.min(Math.max(failures, 1) - 1, 40));

/**
 * Waits for the promise until the signal aborts. The promise itself keeps running.
 * @throws the signal's reason on abort
 */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(signal.reason as Error); // any value
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
  }
}

/** The first of the promises to settle. The others go on; their rejections count as handled. */
export const firstOf = <T>(promises: Iterable<T | PromiseLike<T>>): Promise<Awaited<T>> =>
  Promise.race(promises);

/** Lets the event loop turn once, so that a long computation does not starve timers and sockets. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
