// The limiter of one process, with a budget in memory, and calls that wait for their turn in it.
import { RateLimiter, type RateLimiterOptions } from '../../src/rate/rate-limiter.js';
import type { CallPriority } from '../../src/sync/ports.js';
import { atEnd } from './cleanup.js';
import {
  freeBudget,
  localClock,
  recordingLogger,
  recordingObserver,
  unrestricted,
} from './stripe-gateway.js';

export const list = 'GET /v1/customers';
export const retrieve = 'GET /v1/customers/{id}';
export const unlimited = { callsPerSecond: 0, callsPerSecondPerEndpoint: 0, maxInFlight: 4 };

/** Closed when the test ends. */
export function limiter(options: Partial<RateLimiterOptions> = {}): RateLimiter {
  const made = new RateLimiter({
    limits: unlimited,
    budget: freeBudget,
    clock: localClock,
    observer: recordingObserver(),
    logger: recordingLogger().logger,
    random: Math.random,
    ...options,
  });
  atEnd(() => made.close());
  return made;
}

export const turn = (
  priority: CallPriority,
  options: { endpoint?: string; signal?: AbortSignal; waitMs?: number } = {},
): Parameters<RateLimiter['schedule']>[0] => ({
  endpoint: options.endpoint ?? list,
  priority,
  signal: options.signal ?? new AbortController().signal,
  deadlineAt: performance.now() + (options.waitMs ?? 20_000),
});

/** Tasks that run until they are told to end. */
export function openTasks() {
  const running: (() => void)[] = [];
  let isEnding = false;
  const task = () => new Promise<void>((resolve) => (isEnding ? resolve() : void running.push(resolve)));
  const endAll = () => {
    isEnding = true;
    for (const end of running) end();
  };
  return { running, task, endAll };
}

/** Slots that are granted and due so far ahead. */
export function slotsDue(wants: readonly string[], aheadMs: number) {
  const now = Date.now();
  return {
    ...unrestricted,
    now,
    callsPerSecond: 50,
    slots: wants.map(() => ({ kind: 'granted', at: now + aheadMs }) as const),
  };
}
