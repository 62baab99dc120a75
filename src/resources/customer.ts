// Customers (https://docs.stripe.com/api/customers).
import type { Resource } from './resource.js';

export const customer = {
  object: 'customer',
  collection: ({ customers }): string => customers,
  list: {
    endpoint: 'GET /v1/customers',
    send: (stripe, params, options): Promise<unknown> => stripe.customers.list(params, options),
  },
  retrieve: {
    endpoint: 'GET /v1/customers/{id}',
    send: (stripe, id, options): Promise<unknown> => stripe.customers.retrieve(id, {}, options),
  },
  testClocks: {
    endpoint: 'GET /v1/test_helpers/test_clocks',
    send: (stripe, params, options): Promise<unknown> => stripe.testHelpers.testClocks.list(params, options),
  },
} as const satisfies Resource;
