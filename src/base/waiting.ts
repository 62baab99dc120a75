// Waits that end early: by a signal, or because what is waited for has come. Nothing here throws.
import { setMaxListeners } from 'node:events';
import { Fault } from './errors.js';

/** Waits, in milliseconds. True when the time has passed, false when one of the signals ended the wait. */
export function pause(ms: number, ...signals: readonly AbortSignal[]): Promise<boolean> {
  // Not by timers/promises, for which the end of a wait is an error, with a stack to be taken; each request ends two of them.
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
    const timer = setTimeout(end, Math.max(0, ms), true);
    // One listener a wait: with many on one signal Node would take that for a leak.
    setMaxListeners(0, ...signals);
    for (const signal of signals) signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Ends the waits on the controller's signal. With a reason of one's own: by default an error is made, with its stack. */
export const endWaits = (controller: AbortController): void => controller.abort('over');

/** True when `promise` resolves within the time. @throws what the promise rejects with before */
export async function isDoneWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const done = new AbortController();
  try {
    return await Promise.race([promise.then(() => true), pause(ms, done.signal).then(() => false)]);
  } finally {
    endWaits(done);
  }
}

// A deadline for MongoDB's answers, which come late or never while the server hangs: the limiter does not wait for its driver.
/** The answer, if it comes within `ms`. @throws Fault `mongodb_unavailable` (retryable) after that; the answer may still take effect */
export async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  if (await isDoneWithin(answer, ms)) return answer;
  throw new Fault('mongodb_unavailable', `MongoDB did not answer within ${ms} ms`, { kind: 'retryable' });
}

/** Waits for the promise until the signal aborts; the promise itself goes on. @throws the signal's reason on abort */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(signal.reason as Error); // thrown as the aborting side gave it
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
  }
}
