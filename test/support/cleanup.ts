// What a test, a benchmark or the demo has started and must end. Support code registers each thing as it starts it, so
// nothing is left over when a test fails. This file knows no test runner: setup.ts calls it from vitest's hooks.

type Release = () => void | Promise<void>;

const stack: Release[] = [];

/** Has `release` run at the end of what is running now: the test, or else the test file. Last in, first out. */
export function atEnd(release: Release): void {
  stack.push(release);
}

/** A place in the stack, for `releaseTo`. */
export function mark(): number {
  return stack.length;
}

/** Releases everything registered since `place`, all of it even when one throws; throws what went wrong afterwards. */
export async function releaseTo(place = 0): Promise<void> {
  const faults: unknown[] = [];
  while (stack.length > place) {
    const release = stack.pop();
    try {
      await release?.();
    } catch (error) {
      faults.push(error);
    }
  }
  if (faults.length === 1) {
    throw faults[0] instanceof Error ? faults[0] : new Error(String(faults[0]));
  }
  if (faults.length > 1) {
    throw new AggregateError(faults, `${faults.length} things did not end: ${faults.map(String).join('; ')}`);
  }
}
