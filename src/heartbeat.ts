// What a daemon tells of itself while it runs, gathered from its parts; see store/replicas.ts for where it is told.
import type { Config } from './config.js';
import type { Logger } from './logger.js';
import type { Services } from './services.js';
import { stateOf } from './store/state.js';
import { type Presence, startPresence } from './store/replicas.js';
import { limitsFor } from './stripe/limits.js';
import type { StripeObserver } from './stripe/observer.js';
import { serviceVersion } from './version.js';

/** Counts calls to Stripe on their way to an observer. */
export interface CallCounter {
  readonly callFinished: StripeObserver['callFinished'];
  /** Calls a second since it was last asked. */
  readonly lately: () => number;
}

export function countCalls(observer: Pick<StripeObserver, 'callFinished'>): CallCounter {
  let finished = 0;
  let sinceMs = performance.now();
  return {
    callFinished: (call) => {
      finished += 1;
      observer.callFinished(call);
    },
    lately: () => {
      const nowMs = performance.now();
      const perSecond = finished / Math.max(1, (nowMs - sinceMs) / 1_000);
      finished = 0;
      sinceMs = nowMs;
      return Number(perSecond.toFixed(1));
    },
  };
}

export interface HeartbeatOptions {
  readonly config: Config;
  readonly services: Pick<Services, 'db' | 'owner' | 'gateway'>;
  readonly calls: CallCounter;
  /** What it works on now. */
  readonly running: () => { readonly small: number; readonly scan: number };
  readonly logger: Logger;
}

/** Tells every ten seconds that this daemon is there, until it is stopped. */
export function startHeartbeat({ config, services, calls, running, logger }: HeartbeatOptions): Presence {
  const { schedule, timezone } = config.syncAll;
  const { callsPerSecond, callsPerSecondPerEndpoint } = limitsFor(config.stripe, services.gateway.livemode);
  return startPresence({
    states: stateOf(services.db),
    owner: services.owner,
    vitals: () => ({
      version: serviceVersion,
      schedule,
      timezone,
      limits: { callsPerSecond, callsPerSecondPerEndpoint },
      callsPerSecond: calls.lately(),
      running: running(),
    }),
    onFault: (error) => logger.debug({ err: error }, 'Replicas are not told of this one'),
  });
}
