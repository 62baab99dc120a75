// What a seeded customer consists of: the fields that Stripe's Customer has without `expand`, filled as shops fill them.
import { base62 } from './customer-ids.js';
import { hash32 } from './random.js';
import type { CustomerBytes } from './types.js';

const FIRST_NAMES = [
  'Ada',
  'Björn',
  'Chloé',
  'Daniel',
  'Emeka',
  'Fatima',
  'Grace',
  'Hiroshi',
  'Inès',
  'Jenny',
];
const LAST_NAMES = ['Almeida', 'Brandt', 'Cohen', 'Dąbrowska', 'Evans', 'Fischer', 'García', 'Rosen', '田中'];
const STREETS = ['Main Street', 'Rua das Flores', 'Kirchgasse', 'Station Road', 'Market Street'];
const CITIES = ['Berlin', 'Bristol', 'Osaka', 'Porto', 'San Francisco', 'Warszawa', 'Zürich'];
const COUNTRIES = ['DE', 'GB', 'JP', 'PT', 'US', 'PL', 'CH'];
const CURRENCIES = ['eur', 'gbp', 'jpy', 'usd', null];
const LOCALES = [[], [], [], ['de'], ['en', 'fr']];
const PLANS = ['free', 'starter', 'team', 'enterprise'];
const CHANNELS = ['organic', 'newsletter', 'partner-referral', 'paid-search'];
const CAMPAIGNS = ['spring-launch', 'annual-upgrade', 'webinar-series', 'none'];
const OWNERS = ['accounts-emea@shop.example.com', 'accounts-amer@shop.example.com', 'self-service'];

/** What all customers of a batch have in common. */
export interface BatchTraits {
  seed: number;
  livemode: boolean;
  testClock: string | null;
  customerBytes: CustomerBytes;
}

/** What stands in the fields that differ from customer to customer. */
export interface SampleFields {
  id: string;
  created: number;
  ordinal: string;
}

/** One customer of many: `number` decides on all that is not in `fields`. */
export function sampleCustomer(number: number, fields: SampleFields, traits: BatchTraits): object {
  const h = hash32(number, 0);
  const g = hash32(h, 1);
  const name = `${pick(FIRST_NAMES, h)} ${pick(LAST_NAMES, h >>> 8)}`;
  const phone = g % 4 === 0 ? null : `+1555${String(g % 1_000_000).padStart(6, '0')}`;
  return {
    id: fields.id,
    object: 'customer',
    address: g % 5 === 0 ? null : sampleAddress(g),
    balance: h % 9 === 0 ? -(g % 5000) : 0,
    created: fields.created,
    currency: pick(CURRENCIES, g >>> 4),
    customer_account: null,
    default_source: h % 5 === 0 ? `card_1${base62(h, 6)}${base62(g, 6)}2eZvKYlo2C` : null,
    delinquent: h % 37 === 0,
    description: h % 4 === 0 ? `Account of ${name}` : null,
    discount: null,
    email: emailOf(fields.ordinal, traits.seed),
    invoice_prefix: base62(g, 8).toUpperCase(),
    invoice_settings: {
      custom_fields: h % 6 === 0 ? [{ name: 'PO number', value: `PO-${g % 100_000}` }] : null,
      default_payment_method: h % 3 === 0 ? null : `pm_1${base62(g, 6)}${base62(h, 6)}2eZvKYlo2C`,
      footer: null,
      rendering_options: null,
    },
    livemode: traits.livemode,
    metadata: sampleMetadata(fields.ordinal, h, traits.customerBytes),
    name,
    next_invoice_sequence: 1 + (h % 40),
    phone,
    preferred_locales: pick(LOCALES, g >>> 6),
    shipping: g % 3 === 0 ? null : { address: sampleAddress(h), name, phone },
    tax_exempt: h % 50 === 0 ? 'reverse' : 'none',
    test_clock: traits.testClock,
  };
}

/** The e-mail of a customer; `ordinal` in as many digits as the sample has. */
export function emailOf(ordinal: string, seed: number): string {
  return `customer.${ordinal}@seed-${seed}.example.com`;
}

function sampleAddress(h: number): object {
  const place = h % CITIES.length;
  return {
    city: pick(CITIES, place),
    country: pick(COUNTRIES, place),
    line1: `${1 + (h % 300)} ${pick(STREETS, h >>> 5)}`,
    line2: h % 4 === 0 ? `Floor ${h % 30}` : null,
    postal_code: String(10_000 + (h % 89_999)),
    state: null,
  };
}

/** Keys that link the customer to a shop's other systems, as https://docs.stripe.com/metadata advises. */
function sampleMetadata(account: string, h: number, bytes: CustomerBytes): Record<string, string | null> {
  const g = hash32(h, 2);
  const few = {
    account,
    user_id: uuid(h),
    plan: pick(PLANS, h >>> 3),
    source: 'import',
    crm_contact_id: `003${base62(g, 8)}${base62(h, 7)}`,
    signup_channel: pick(CHANNELS, g),
    first_order_id: `order_${base62(h, 6)}${base62(g, 6)}`,
    billing_cycle: g % 3 === 0 ? 'monthly' : 'yearly',
  };
  const some = {
    ...few,
    organization_id: uuid(g),
    account_owner: pick(OWNERS, g >>> 4),
    campaign: pick(CAMPAIGNS, g >>> 8),
  };
  if (bytes === 1600) return h % 2 === 0 ? few : some;
  return {
    ...some,
    billing_entity: `Example Trading ${pick(COUNTRIES, g)} Ltd`,
    erp_customer_number: `DEB-${String(h % 10_000_000).padStart(8, '0')}`,
    terms_accepted_at: `2025-0${1 + (g % 9)}-1${h % 10}T08:15:0${g % 10}Z`,
    terms_version: `2025-0${1 + (h % 9)}-01`,
    first_session_id: `${uuid(hash32(g, 3))}:${base62(g, 6)}`,
    attribution: `utm_source=${pick(CHANNELS, h)}&utm_campaign=${pick(CAMPAIGNS, h >>> 4)}&utm_content=pricing-page`,
    feature_flags: 'invoices-v2,usage-export,sso,audit-log,priority-support,seats-unlimited',
    internal_notes:
      h % 2 === 0 ? 'Moved from the old billing system; prices are kept until the end of the term' : 'None',
    data_processing_agreement: `dpa_${base62(h, 6)}, signed 2025-0${1 + (g % 9)}-1${h % 10}`,
    support_channel: `https://support.shop.example.com/queues/${pick(PLANS, h >>> 3)}/tickets`,
    tenant_url: `https://tenant-${base62(g, 6)}.shop.example.com/admin/customers/${base62(h, 6)}`,
  };
}

function uuid(h: number): string {
  const hex = [h, hash32(h, 4), hash32(h, 5), hash32(h, 6)].map((n) => n.toString(16).padStart(8, '0'));
  return hex.join('').replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-4$3-a$4-$5');
}

function pick<T>(values: readonly T[], h: number): T | null {
  return values[h % values.length] ?? null;
}
