// A deadline for MongoDB's answers, which come late or never while the server hangs: the limiter does not wait for its driver.
import { Fault } from '../errors.js';

/** The answer, if it comes within `ms`. @throws Fault `mongodb_unavailable` (retryable) after that; the answer may still take effect */
export async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const text = `MongoDB did not answer within ${ms} ms`;
      reject(new Fault('mongodb_unavailable', text, { kind: 'retryable' }));
    }, ms);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
