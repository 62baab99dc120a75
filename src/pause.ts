// Waits that end early: by a signal, or because what is waited for has come. Nothing here throws.
import { setMaxListeners } from 'node:events';

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
