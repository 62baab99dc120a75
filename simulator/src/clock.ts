// The simulator's own time, which a test may move away from the machine's.
import type { SimulatorClock } from './types.js';

export function createClock(initialOffsetMs: number): SimulatorClock {
  let offsetMs = initialOffsetMs;
  const now = (): number => Date.now() + offsetMs;
  return {
    now,
    seconds: () => Math.floor(now() / 1000),
    get offsetMs() {
      return offsetMs;
    },
    setOffset(ms) {
      offsetMs = ms;
    },
  };
}
