// The real SDK against a simulator, through the product's own gateway: with a limiter in memory, as nothing here is about MongoDB.
import { pino } from 'pino';
import type { Logger } from '../../src/base/logger.js';
import type { Config } from '../../src/config/schema.js';
import type { RateLimitReason } from '../../src/rate/limits.js';
import type { Budget } from '../../src/rate/budget.js';
import { type MongoClock, observedBetween } from '../../src/mongo/clock.js';
import { customer } from '../../src/resources/customer.js';
import { createStripeGateway, type GatewayOptions, type StripeGateway } from '../../src/stripe/gateway.js';
import type { CallOutcome, StripeObserver } from '../../src/stripe/observer.js';
import type { Source } from '../../src/sync/ports.js';
import { atEnd } from './cleanup.js';

export type StripeConfig = Config['stripe'];

/** Settings of a test: no limit of the rate, and deadlines that a test can wait for. */
const stripeConfig = (
  simulator: { url: string; key: string },
  settings: Partial<StripeConfig> = {},
): StripeConfig => ({
  apiKey: simulator.key,
  apiBase: simulator.url,
  apiVersion: '2026-10-28.endive',
  accountId: '',
  callsPerSecond: 0,
  callsPerSecondPerEndpoint: 0,
  maxInFlight: 8,
  monthlyReadAllowance: 0,
  attemptTimeoutMs: 5_000,
  callDeadlineMs: 10_000,
  ...settings,
});

/** The clock of this machine. */
export const localClock: MongoClock = {
  interval: async () => ({ earliest: new Date(), latest: new Date() }),
  learn: () => {},
  dated: async (reading, from, to) => ({ observed: observedBetween(reading, from, to), isCertain: true }),
};

/** What a budget answers besides the slots where nothing was refused and the month has no allowance. */
export const unrestricted = { inFlightShare: 1, month: { calls: 0, endsAt: Infinity } } as const;

/** Grants every slot at once. */
export const freeBudget: Budget = {
  take: async (endpoints, { callsPerSecond }) => {
    const now = Date.now();
    return {
      ...unrestricted,
      now,
      callsPerSecond,
      slots: endpoints.map(() => ({ kind: 'granted', at: now })),
    };
  },
  slowDown: async () => {},
  count: async () => {},
};

export const silentStripeObserver: StripeObserver = {
  callFinished: () => {},
  rateLimited: () => {},
  slotWaited: () => {},
  clockMoved: () => {},
};

export interface Observed {
  calls: { endpoint: string; outcome: CallOutcome; seconds: number }[];
  limited: RateLimitReason[];
  waits: number[];
}

export function recordingObserver(): StripeObserver & Observed {
  const calls: Observed['calls'] = [];
  const limited: RateLimitReason[] = [];
  const waits: number[] = [];
  return {
    ...silentStripeObserver,
    calls,
    limited,
    waits,
    callFinished: (call) => void calls.push(call),
    rateLimited: (reason) => void limited.push(reason),
    slotWaited: (seconds) => void waits.push(seconds),
  };
}

/** A logger whose lines are kept. */
export function recordingLogger(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  return { logger, lines };
}

export interface TestGateway {
  gateway: StripeGateway;
  customers: Source;
  observed: Observed;
  lines: string[];
}

/** A gateway that ends with the test. Waits between retries are nearly none unless `random` is given. */
export function startGateway(
  simulator: { url: string; key: string },
  settings: Partial<StripeConfig> = {},
  options: Partial<Omit<GatewayOptions, 'config'>> = {},
): TestGateway {
  const observer = recordingObserver();
  const { logger, lines } = recordingLogger();
  const gateway = createStripeGateway({
    config: stripeConfig(simulator, settings),
    budget: freeBudget,
    clock: localClock,
    verifyKey: async () => {},
    confirmBinding: async () => {},
    observer,
    logger,
    random: () => 0.01,
    ...options,
  });
  atEnd(() => gateway.close());
  return { gateway, customers: gateway.source(customer), observed: observer, lines };
}
