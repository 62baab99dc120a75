// How long an answer takes, and when within that time it is read from the data.
import type { Random } from './random.js';
import type { Latency } from './types.js';

export interface Delays {
  beforeComputeMs: number;
  afterComputeMs: number;
}

export function drawDelays(latency: Latency | undefined, random: Random): Delays {
  if (latency === undefined) return { beforeComputeMs: 0, afterComputeMs: 0 };
  const spread = (latency.jitterMs ?? 0) * (2 * random.next() - 1);
  const totalMs = Math.max(0, latency.ms + spread);
  const share = computeShare(latency.computeAt ?? 'departure', random);
  return { beforeComputeMs: totalMs * share, afterComputeMs: totalMs * (1 - share) };
}

function computeShare(computeAt: NonNullable<Latency['computeAt']>, random: Random): number {
  switch (computeAt) {
    case 'arrival':
      return 0;
    case 'departure':
      return 1;
    case 'random':
      return random.next();
    default:
      return Math.min(1, Math.max(0, computeAt));
  }
}
