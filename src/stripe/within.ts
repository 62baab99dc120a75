// A deadline for MongoDB's answers, which come late or never while the server hangs: the limiter does not wait for its driver.
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../errors.js';

/** The answer, if it comes within `ms`. @throws Fault `mongodb_unavailable` (retryable) after that; the answer may still take effect */
export async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  const answered = new AbortController();
  const late = sleep(ms, undefined, { signal: answered.signal }).then(() => {
    throw new Fault('mongodb_unavailable', `MongoDB did not answer within ${ms} ms`, { kind: 'retryable' });
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    answered.abort();
  }
}
