// The simulator and the official SDK for a file of tests. What tests may order on top of what Stripe documents (faults, limits, latency, holds, its
// own process) is proven in simulator/test/.
import Stripe from 'stripe';
import { startSimulator, stripeClient, type StripeSimulator } from 'stripe-simulator';
import { afterAll, beforeEach } from 'vitest';

export const NEW_YEAR = 1_735_689_600;

/** A simulator that is empty before each test, and ends with the file. */
export async function simulatedStripe(): Promise<{ simulator: StripeSimulator; stripe: Stripe }> {
  const simulator = await startSimulator();
  afterAll(() => simulator.close());
  beforeEach(() => {
    simulator.reset();
    simulator.clear();
    simulator.account().live.clear();
    simulator.clock.setOffset(0);
  });
  return { simulator, stripe: stripeClient(simulator) };
}

/** Customers a minute apart; their ids, the newest first. */
export function createMany(simulator: StripeSimulator, count: number): string[] {
  const ids: string[] = [];
  for (let n = 1; n <= count; n += 1) {
    ids.unshift(simulator.create({ created: NEW_YEAR + (n - 1) * 60, name: `customer ${n}` }).id);
  }
  return ids;
}

export function idsOf(page: { data: { id: string }[] }): string[] {
  return page.data.map(({ id }) => id);
}

export function get(
  { url, key }: StripeSimulator,
  path: string,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(url + path, { headers: { Authorization: `Bearer ${key}`, ...headers } });
}

/** The error a call is refused with. */
export async function refusal(call: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Stripe.errors.StripeError) return error;
    throw error;
  }
  throw new Error('The call was answered, but should have been refused');
}
