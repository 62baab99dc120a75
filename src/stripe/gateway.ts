// Composes everything that talks to Stripe: one client, one limiter, one key ring, and the readers that use
// them.
import type { Logger } from '../base/logger.js';
import type { Config } from '../config/schema.js';
import type { MongoClock } from '../mongo/clock.js';
import { limitsFor } from '../rate/limits.js';
import { ListPaces } from '../rate/list-pace.js';
import { RateLimiter } from '../rate/rate-limiter.js';
import type { Budget } from '../rate/budget.js';
import type { Resource } from '../resources/resource.js';
import type { KeyAccount } from '../sync/binding.js';
import type { CallOptions, Source } from '../sync/ports.js';
import { type Call, Caller } from './caller.js';
import { StripeClient } from './exchange.js';
import { ApiKey, type KeyRefusal, KeyRing, refusalsOf } from './key.js';
import type { StripeObserver } from './observer.js';
import { createStripeSource, readAccount } from './source.js';

/** Reads Stripe with one key: the one in use, or a new one on trial. */
export interface StripeReader {
  readonly livemode: boolean;
  source(resource: Resource): Source;
  /** The key's account. Throws Fault `stripe_key_refused` where Stripe does not know the key. */
  account(options: CallOptions): Promise<KeyAccount>;
  /** A salted hash of the key. */
  keyHash(salt: string): string;
}

export interface StripeGateway extends StripeReader {
  /**
   * Calls per second over all replicas, after Stripe's 429s, when this process last asked; undefined:
   * unlimited.
   */
  effectiveRate(): number | undefined;
  /** Calls per second over all replicas that the settings allow; 0: unlimited. */
  readonly configuredRate: number;
  /** Why Stripe currently refuses the key in use, or why a new key is refused. */
  keyRefusals(): readonly KeyRefusal[];
  /** Ends all calls with the retryable Fault `shutdown` and destroys all connections. */
  close(): Promise<void>;
}

export interface GatewayOptions {
  readonly config: Config['stripe'];
  /** Reads the key's file; throws while the file holds no usable key. Absent: the key never changes. */
  readonly readKey?: (() => string | Promise<string>) | undefined;
  /** Checks account and mode of a new key before it is used; rejects to refuse it. */
  readonly verifyKey: (candidate: StripeReader, signal: AbortSignal) => Promise<void>;
  /**
   * Confirms that the database still belongs to the account of the key in use; rejects to refuse an answer.
   * Called for each answer, but for those of a check itself (`CallOptions.isTrial`).
   */
  readonly confirmBinding: () => Promise<void>;
  readonly budget: Budget;
  readonly clock: MongoClock;
  readonly observer: StripeObserver;
  readonly logger: Logger;
  /** 0 to 1; Math.random by default. */
  readonly random?: () => number;
  /** How often the key's file is read, milliseconds; 30,000 by default. */
  readonly keyReadEveryMs?: number;
}

/** @throws Fault `invalid_config` where the key, or a proxy that the environment names, cannot be used */
export function createStripeGateway(options: GatewayOptions): StripeGateway {
  const { config, budget, clock, observer, logger, random = Math.random } = options;
  const initial = new ApiKey(config.apiKey);
  const { livemode } = initial;
  const client = new StripeClient(config);
  if (client.proxy !== undefined) logger.info({ proxy: client.proxy }, 'Stripe is called through a proxy');
  const limits = limitsFor(config, livemode);
  const { monthlyReadAllowance } = config;
  const limiter = new RateLimiter({ limits, monthlyReadAllowance, budget, clock, observer, logger, random });
  const paces = new ListPaces(limits, limiter);
  const caller = new Caller({
    client,
    limiter,
    clock,
    settings: config,
    observer: {
      callFinished: (call) => {
        paces.learn(call);
        observer.callFinished(call);
      },
      rateLimited: (reason) => observer.rateLimited(reason),
    },
    logger,
    random,
    onKeyRefused: (key) => {
      if (key === keys.current) keys.readSoon();
    },
  });

  const readerOf = (keyInUse: () => ApiKey): StripeReader => {
    const call = async <T>(what: Call<T>, how: CallOptions): Promise<T> => {
      const answer = await caller.call(what, how, keyInUse);
      if (how.isTrial !== true) await options.confirmBinding();
      return answer;
    };
    const { apiVersion } = config;
    const mode = keyInUse().livemode;
    return {
      livemode: mode,
      source: (resource) => {
        const listsAtOnce = (): number => paces.atOnce(resource.list.endpoint);
        return createStripeSource({ resource, livemode: mode, apiVersion, call, listsAtOnce });
      },
      account: (how) => call(readAccount, how),
      keyHash: (salt) => keyInUse().hash(salt),
    };
  };

  const keys = new KeyRing({
    initial,
    read: options.readKey,
    verify: (candidate, signal) => {
      const reader = readerOf(() => candidate);
      return options.verifyKey(reader, signal);
    },
    everyMs: options.keyReadEveryMs,
    logger,
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
