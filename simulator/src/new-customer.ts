// Customers that tests make or change, as the pinned API version returns them:
// https://docs.stripe.com/api/customers/object and the SDK's types.
import { base62 } from './customer-ids.js';
import { hash32 } from './random.js';
import type { CustomerFields, CustomerObject } from './types.js';

/** A customer with Stripe's defaults and the given fields over them. */
export function newCustomer(
  base: Pick<CustomerObject, 'id' | 'created' | 'livemode'>,
  fields: CustomerFields,
) {
  const { id, created, livemode } = base;
  const customer: CustomerObject = {
    id,
    object: 'customer',
    address: null,
    balance: 0,
    created,
    currency: null,
    customer_account: null,
    default_source: null,
    delinquent: false,
    description: null,
    discount: null,
    email: null,
    invoice_prefix: base62(hash32(created, id.length * 31 + id.charCodeAt(id.length - 1)), 8).toUpperCase(),
    invoice_settings: {
      custom_fields: null,
      default_payment_method: null,
      footer: null,
      rendering_options: null,
    },
    livemode,
    metadata: {},
    name: null,
    next_invoice_sequence: 1,
    phone: null,
    preferred_locales: [],
    shipping: null,
    tax_exempt: 'none',
    test_clock: null,
    ...fields,
  };
  return customer;
}

/** Stripe's update: fields replace, metadata merges by key, and an empty value removes its key. */
export function applyUpdate(customer: CustomerObject, fields: CustomerFields): CustomerObject {
  const updated: CustomerObject = { ...customer, ...fields };
  if (fields.metadata === undefined) return updated;
  const merged = Object.entries({ ...customer.metadata, ...fields.metadata });
  // fromEntries defines keys, so that one named __proto__ stays a key.
  updated.metadata = Object.fromEntries(merged.filter(([, value]) => value !== ''));
  return updated;
}
