// The library on a simulated Stripe, as applications use it.
import mongoose from 'mongoose';
import { expect } from 'vitest';
import { type SimulatorOptions, startSimulator, type StripeSimulator } from 'stripe-simulator';
import { customerSchema, Fault, StripeCustomerAction, type StripeCustomerModel } from '../../src/index.js';
import { atEnd } from './cleanup.js';
import type { FreshDatabase } from './database.js';

/** Ends with the test. */
export async function startStripe(options: SimulatorOptions = {}): Promise<StripeSimulator> {
  const simulator = await startSimulator(options);
  atEnd(() => simulator.close());
  return simulator;
}

interface Settings {
  key?: string;
  stripe?: Record<string, number>;
  requests?: { leaseMs: number };
  connection?: mongoose.Connection;
}

/** An action on a connection of its own, as a second application would have; closed when the test ends. */
export async function connect(
  { uri }: Pick<FreshDatabase, 'uri'>,
  simulator: StripeSimulator,
  {
    key = simulator.restrictedKey,
    stripe = {},
    requests,
    connection = mongoose.createConnection(),
  }: Settings = {},
): Promise<{
  action: StripeCustomerAction;
  connection: mongoose.Connection;
  customers: StripeCustomerModel;
}> {
  const limits = { callsPerSecond: 0, callsPerSecondPerEndpoint: 0 };
  const action = await StripeCustomerAction.connect({
    connection,
    config: {
      stripe: { apiKey: key, apiBase: simulator.url, ...limits, ...stripe },
      mongodb: { uri },
      ...(requests && { requests }),
    },
  });
  atEnd(() => action.close());
  const customers = connection.model('StripeCustomer', customerSchema) as StripeCustomerModel; // the exported one's own schema
  return { action, connection, customers };
}

/** Pages of scans; `connect` itself lists one customer, to see that the key may. */
export const listCalls = ({ requests }: StripeSimulator) =>
  requests.filter(({ endpoint, url }) => endpoint === 'GET /v1/customers' && !url.endsWith('?limit=1'));

export const faultOf = async (failing: Promise<unknown>): Promise<Fault> => {
  const error = await failing.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(Fault);
  return error as Fault; // as the line above says
};
