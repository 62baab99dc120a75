// The official SDK, set up so that it does nothing of its own: no retries, no telemetry, no key inside it.
import Stripe from 'stripe';
import type { Config } from '../config-schema.js';
import { createAgent } from './agent.js';
import { createHttpClient } from './http-client.js';
import { proxyFor } from './proxy.js';

export interface StripeClient {
  readonly stripe: Stripe;
  /** Address of the proxy that calls go through, without credentials. */
  readonly proxy: string | undefined;
  /** Destroys all connections. */
  close(): void;
}

type ClientSettings = Pick<Config['stripe'], 'apiBase' | 'apiVersion' | 'attemptTimeoutMs'>;

/** @throws a fatal Fault `invalid_config` where the environment names a proxy that is none */
export function createClient({ apiBase, apiVersion, attemptTimeoutMs }: ClientSettings): StripeClient {
  const url = new URL(apiBase);
  const protocol = url.protocol === 'http:' ? 'http' : 'https';
  const proxy = proxyFor(url);
  const agent = createAgent(protocol, proxy);
  const stripe = new Stripe('', {
    // Each attempt brings its own; without one no request is made.
    authenticator: () => Promise.resolve(),
    apiVersion: apiVersion as Stripe.LatestApiVersion, // the setting decides; the SDK's types know its newest version alone
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (protocol === 'http' ? 80 : 443) : url.port,
    protocol,
    maxNetworkRetries: 0,
    telemetry: false,
    // Of idle time only; the attempt ends itself before.
    timeout: attemptTimeoutMs + 1_000,
    httpClient: createHttpClient(agent),
    appInfo: { name: 'stripe-mongo-sync' },
  });
  return { stripe, proxy: proxy?.address, close: () => agent.destroy() };
}
