// Everything towards Stripe put together: one client, one limiter, one key ring, and readers of them.
import type { Logger } from '../base/logger.js';
import type { Config } from '../config/schema.js';
import { limitsFor } from '../rate/limits.js';
import { ListPaces } from '../rate/list-pace.js';
import { RateLimiter } from '../rate/rate-limiter.js';
import type { Budget } from '../rate/budget.js';
import type { Resource } from '../resources/resource.js';
import type { CallOptions, SharedClock, Source } from '../sync/ports.js';
import { type Call, Caller } from './caller.js';
import { createClient } from './exchange.js';
import { ApiKey, type KeyRefusal, KeyRing, refusalsOf } from './key.js';
import type { StripeObserver } from './observer.js';
import { type AccountAnswer, accountReader, createStripeSource } from './source.js';

/** Reads Stripe with one key: the one in use, or one that is being tried out. */
export interface StripeReader {
  readonly livemode: boolean;
  source(resource: Resource): Source;
  /** The key's account. Throws Fault `stripe_key_refused` where Stripe does not know the key. */
  account(options: CallOptions): Promise<AccountAnswer>;
}

export interface StripeGateway extends StripeReader {
  /** Calls per second over all replicas, as Stripe's refusals left it when this process last asked; undefined: unlimited. */
  effectiveRate(): number | undefined;
  /** Calls per second over all replicas that the settings allow; 0: unlimited. */
  readonly configuredRate: number;
  /** All the reasons for which the key in use, or a new one that was found, is refused at present. */
  keyRefusals(): readonly KeyRefusal[];
  /** Ends all calls with the retryable Fault `shutdown` and destroys all connections. */
  close(): Promise<void>;
}

export interface GatewayOptions {
  readonly config: Config['stripe'];
  /** Reads the key again where it comes from a file; throws while that holds nothing usable. */
  readonly readKey?: (() => string | Promise<string>) | undefined;
  /** Tries a new key out before it is used, for account and mode; rejects to refuse it. */
  readonly verifyKey: (candidate: StripeReader, signal: AbortSignal) => Promise<void>;
  readonly budget: Budget;
  readonly clock: SharedClock;
  readonly observer: StripeObserver;
  readonly logger: Logger;
  /** 0 to 1; Math.random by default. */
  readonly random?: () => number;
  /** How often the key's file is looked at, milliseconds; 30,000 by default. */
  readonly keyLookEveryMs?: number;
}

/** @throws Fault `invalid_config` where the key, or a proxy that the environment names, is none */
export function createStripeGateway(options: GatewayOptions): StripeGateway {
  const { config, budget, clock, observer, logger, random = Math.random } = options;
  const initial = new ApiKey(config.apiKey);
  const { livemode } = initial;
  const client = createClient(config);
  if (client.proxy !== undefined) logger.info({ proxy: client.proxy }, 'Stripe is called through a proxy');
  const limits = limitsFor(config, livemode);
  const { monthlyReadAllowance } = config;
  const limiter = new RateLimiter({ limits, monthlyReadAllowance, budget, clock, observer, logger, random });
  const paces = new ListPaces(limits, limiter);
  const caller = new Caller({
    client,
    limiter,
    settings: config,
    observer: {
      callFinished: (call) => {
        paces.learn(call);
        observer.callFinished(call);
      },
      rateLimited: (reason) => observer.rateLimited(reason),
      slotWaited: (seconds) => observer.slotWaited(seconds),
    },
    logger,
    random,
    onKeyRefused: (key) => {
      if (key === keys.current) keys.lookSoon();
    },
  });

  const readerOf = (keyInUse: () => ApiKey): StripeReader => {
    const call = <T>(what: Call<T>, how: CallOptions): Promise<T> => caller.call(what, how, keyInUse);
    const { apiVersion } = config;
    const mode = keyInUse().livemode;
    return {
      livemode: mode,
      source: (resource) => {
        const listsAtOnce = (): number => paces.atOnce(resource.list.endpoint);
        return createStripeSource({ resource, livemode: mode, apiVersion, call, listsAtOnce });
      },
      account: accountReader(call),
    };
  };

  const keys = new KeyRing({
    initial,
    read: options.readKey,
    verify: (candidate, signal) =>
      options.verifyKey(
        readerOf(() => candidate),
        signal,
      ),
    logger,
    ...(options.keyLookEveryMs !== undefined && {
      everyMs: options.keyLookEveryMs,
      leastMsBetweenLooks: Math.min(20_000, options.keyLookEveryMs),
    }),
  });

  return {
    ...readerOf(() => keys.current),
    configuredRate: limits.callsPerSecond,
    keyRefusals: () => refusalsOf(keys.current.gate.refusals, keys.refusalOfNew),
    effectiveRate: () => limiter.callsPerSecond,
    async close() {
      caller.close();
      await keys.close();
      await limiter.close();
      client.close();
    },
  };
}
