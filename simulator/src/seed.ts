// When the customers of a seeded account were created: real accounts are skewed, so scans must be tried on skew.
import { createRandom, type Random } from './random.js';
import type { Distribution } from './types.js';

const GROWTH = 4;
const SPIKE_SHARE = 0.6;
const SPIKE_SECONDS = 3600;
const SAME_SECOND_SHARE = 0.2;

/**
 * `count` values of `created` in ascending order, Unix seconds in [from, to]. The same seed gives the same values.
 * growth: e^4 times denser at the end than at the start. spike: 60 % within one hour, at two thirds of the span.
 * same-second: 20 % in one second, at half of it. The rest is uniform.
 */
export function createdTimes(
  count: number,
  distribution: Distribution,
  from: number,
  to: number,
  seed: number,
): Uint32Array {
  const random = createRandom(seed);
  const span = to - from + 1;
  const pick = picker(distribution, random);
  const times = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) times[i] = from + Math.floor(pick(span));
  return times.sort();
}

function picker(distribution: Distribution, random: Random): (span: number) => number {
  const uniform = (span: number): number => random.next() * span;
  switch (distribution) {
    case 'uniform':
      return uniform;
    case 'growth':
      return (span) => (span * Math.log(1 + random.next() * (Math.exp(GROWTH) - 1))) / GROWTH;
    case 'spike':
      return (span) =>
        random.next() < SPIKE_SHARE
          ? Math.min(span - 1, Math.floor((span * 2) / 3) + random.next() * Math.min(SPIKE_SECONDS, span))
          : uniform(span);
    case 'same-second':
      return (span) => (random.next() < SAME_SECOND_SHARE ? Math.floor(span / 2) : uniform(span));
  }
}
