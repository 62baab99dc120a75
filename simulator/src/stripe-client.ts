// The official SDK, pointed at a simulator, with nothing of its own switched on.
import Stripe from 'stripe';

/** A client without retries and telemetry. The SDK repeats a call once all the same when its connection was closed. */
export function stripeClient(
  simulator: { host: string; port: number; key: string },
  key = simulator.key,
): Stripe {
  return new Stripe(key, {
    host: simulator.host,
    port: simulator.port,
    protocol: 'http',
    maxNetworkRetries: 0,
    telemetry: false,
  });
}
