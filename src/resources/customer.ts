// Customers (https://docs.stripe.com/api/customers).
import type { Resource } from './resource.js';

export const customer = {
  object: 'customer',
  collection: 'stripe_customers',
  list: {
    endpoint: 'GET /v1/customers',
    send: (stripe, params): Promise<unknown> => stripe.customers.list(params),
  },
  retrieve: {
    endpoint: 'GET /v1/customers/{id}',
    send: (stripe, id): Promise<unknown> => stripe.customers.retrieve(id),
  },
} as const satisfies Resource;
