// Waits that end early: by a signal, or because what is waited for has come. Nothing here throws.
import { setTimeout as sleep } from 'node:timers/promises';

/** Waits, in milliseconds. True when the time has passed, false when one of the signals ended the wait. */
export async function pause(ms: number, ...signals: readonly AbortSignal[]): Promise<boolean> {
  try {
    await sleep(Math.max(0, ms), undefined, { signal: AbortSignal.any([...signals]) });
    return true;
  } catch {
    return false;
  }
}

/** True when `promise` resolves within the time. @throws what the promise rejects with before */
export async function isDoneWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const done = new AbortController();
  try {
    return await Promise.race([promise.then(() => true), pause(ms, done.signal).then(() => false)]);
  } finally {
    done.abort();
  }
}
