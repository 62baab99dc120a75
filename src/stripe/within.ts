// A deadline for MongoDB's answers, which come late or never while the server hangs: the limiter does not wait for its driver.
import { Fault } from '../errors.js';
import { isDoneWithin } from '../pause.js';

/** The answer, if it comes within `ms`. @throws Fault `mongodb_unavailable` (retryable) after that; the answer may still take effect */
export async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  if (await isDoneWithin(answer, ms)) return answer;
  throw new Fault('mongodb_unavailable', `MongoDB did not answer within ${ms} ms`, { kind: 'retryable' });
}
