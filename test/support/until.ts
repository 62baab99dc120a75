// Waits for a condition: the one place in the tests where a timer may poll. It never waits for time to pass.
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';

export interface UntilOptions {
  /** What is awaited, as it reads after "Gave up waiting for". */
  what: string;
  /** Milliseconds until giving up; 10,000 by default. */
  timeoutMs?: number;
  /** Milliseconds between two looks; 50 by default. */
  intervalMs?: number;
}

type Falsy = false | 0 | '' | null | undefined;

/**
 * Calls `condition` until it gives something truthy, and returns that. A condition that throws is not fulfilled yet.
 * Throws after `timeoutMs`, naming what was awaited and the last value; the last error is the `cause`.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  { what, timeoutMs = 10_000, intervalMs = 50 }: UntilOptions,
): Promise<Exclude<T, Falsy>> {
  const giveUpAt = performance.now() + timeoutMs;
  let last: { value: T } | { error: unknown };

  for (;;) {
    try {
      const value = await condition();
      if (value) {
        return value as Exclude<T, Falsy>; // TypeScript does not narrow a type parameter by truth
      }
      last = { value };
    } catch (error) {
      last = { error };
    }

    if (performance.now() >= giveUpAt) {
      const seen = 'error' in last ? `error: ${String(last.error)}` : inspect(last.value, { depth: 4 });
      throw new Error(
        `Gave up waiting for ${what} after ${timeoutMs} ms, last ${seen}`,
        'error' in last ? { cause: last.error } : {},
      );
    }
    await delay(intervalMs);
  }
}
