// Customers (https://docs.stripe.com/api/customers).
import type Stripe from 'stripe';
import type { Resource } from './resource.js';

/** https://docs.stripe.com/api/customers/object; the compiler names those that a newer SDK adds. */
const fields = {
  id: true,
  object: true,
  address: true,
  balance: true,
  business_name: true,
  cash_balance: true,
  created: true,
  currency: true,
  customer_account: true,
  default_source: true,
  deleted: true,
  delinquent: true,
  description: true,
  discount: true,
  email: true,
  individual_name: true,
  invoice_credit_balance: true,
  invoice_prefix: true,
  invoice_settings: true,
  livemode: true,
  metadata: true,
  name: true,
  next_invoice_sequence: true,
  phone: true,
  preferred_locales: true,
  shipping: true,
  sources: true,
  subscriptions: true,
  tax: true,
  tax_exempt: true,
  tax_ids: true,
  test_clock: true,
} as const satisfies Record<keyof Stripe.Customer, true>;

export const customer = {
  object: 'customer',
  collection: ({ customers }): string => customers,
  adoptable: { idPrefix: 'cus_', fields },
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
