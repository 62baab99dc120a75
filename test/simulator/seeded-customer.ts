// Customers of a seed, rendered whenever they are asked for, so that a million of them takes no memory.
// Each is a ready-made piece of JSON (a kind) into which the few fields that differ are written.

import { base62 } from './customer-ids.js';
import { type JsonWriter } from './json-writer.js';
import { hash32 } from './random.js';

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
const CITIES = ['Berlin', 'Bristol', 'Osaka', 'Porto', 'San Francisco', 'Warszawa', 'Zürich'];
const COUNTRIES = ['DE', 'GB', 'JP', 'PT', 'US', 'PL', 'CH'];
const CURRENCIES = ['eur', 'gbp', 'jpy', 'usd', null];
const LOCALES = [[], [], [], ['de'], ['en', 'fr']];
const PLANS = ['free', 'starter', 'team', 'enterprise'];
const KIND_COUNT = 1024;

// Stand for the fields that differ. Their widths are those of the values: ids, seconds and ordinals.
const ID = 'cus_00000000000000';
const CREATED = 8_888_888_888;
const ORDINAL = '7777777';

/** One of the ready-made customers and where its fields are. */
interface Kind {
  bytes: Buffer;
  idAt: number;
  createdAt: number;
  emailOrdinalAt: number;
  accountOrdinalAt: number;
}

/** What all customers of a batch have in common. */
export interface BatchTraits {
  seed: number;
  livemode: boolean;
  testClock: string | null;
}

export class SeededCustomers {
  private readonly kinds: Kind[] = [];

  constructor(private readonly traits: BatchTraits) {}

  /** The e-mail of a customer, without rendering the rest. */
  email(ordinal: number): string {
    return emailOf(String(ordinal).padStart(ORDINAL.length, '0'), this.traits.seed);
  }

  /** Writes the whole customer as JSON, 650 to 1,000 bytes. */
  write(writer: JsonWriter, id: string, created: number, ordinal: number): void {
    const number = hash32(ordinal, this.traits.seed) % KIND_COUNT;
    const kind = (this.kinds[number] ??= createKind(number, this.traits));
    const { bytes, at } = writer.copy(kind.bytes);
    bytes.write(id, at + kind.idAt, 'latin1');
    writeSeconds(bytes, at + kind.createdAt, created);
    writeDigits(bytes, at + kind.emailOrdinalAt, ordinal, ORDINAL.length);
    writeDigits(bytes, at + kind.accountOrdinalAt, ordinal, ORDINAL.length);
  }
}

function createKind(number: number, traits: BatchTraits): Kind {
  const bytes = Buffer.from(JSON.stringify(sampleCustomer(number, traits)));
  const after = (text: string): number => bytes.indexOf(text) + text.length;
  return {
    bytes,
    idAt: after('"id":"'),
    createdAt: after('"created":'),
    emailOrdinalAt: after('"email":"customer.'),
    accountOrdinalAt: after('"account":"'),
  };
}

function sampleCustomer(number: number, { seed, livemode, testClock }: BatchTraits): object {
  const h = hash32(number, 0);
  const g = hash32(h, 1);
  const name = `${pick(FIRST_NAMES, h)} ${pick(LAST_NAMES, h >>> 8)}`;
  const phone = g % 4 === 0 ? null : `+1555${String(g % 1_000_000).padStart(6, '0')}`;
  return {
    id: ID,
    object: 'customer',
    address: g % 3 === 0 ? null : sampleAddress(g),
    balance: h % 9 === 0 ? -(g % 5000) : 0,
    created: CREATED,
    currency: pick(CURRENCIES, g >>> 4),
    customer_account: null,
    default_source: null,
    delinquent: h % 37 === 0,
    description: h % 4 === 0 ? `Account of ${name}` : null,
    discount: null,
    email: emailOf(ORDINAL, seed),
    invoice_prefix: base62(g, 8).toUpperCase(),
    invoice_settings: {
      custom_fields: null,
      default_payment_method: null,
      footer: null,
      rendering_options: null,
    },
    livemode,
    metadata:
      h % 2 === 0 ? { account: ORDINAL } : { plan: pick(PLANS, h >>> 3), source: 'import', account: ORDINAL },
    name,
    next_invoice_sequence: 1 + (h % 40),
    phone,
    preferred_locales: pick(LOCALES, g >>> 6),
    shipping: g % 5 === 0 ? { address: sampleAddress(h), name, phone } : null,
    tax_exempt: h % 50 === 0 ? 'reverse' : 'none',
    test_clock: testClock,
  };
}

function sampleAddress(h: number): object {
  const place = h % CITIES.length;
  return {
    city: pick(CITIES, place),
    country: pick(COUNTRIES, place),
    line1: `${1 + (h % 300)} Main Street`,
    line2: null,
    postal_code: String(10_000 + (h % 89_999)),
    state: null,
  };
}

function emailOf(ordinal: string, seed: number): string {
  return `customer.${ordinal}@seed-${seed}.example.com`;
}

/** Right-aligned in ten places: before September 2001 with blanks in front, which JSON allows. */
function writeSeconds(bytes: Buffer, at: number, seconds: number): void {
  writeDigits(bytes, at, seconds, 10);
  for (let i = at; i < at + 9 && bytes[i] === 0x30; i += 1) bytes[i] = 0x20;
}

function writeDigits(bytes: Buffer, at: number, value: number, width: number): void {
  let rest = value;
  for (let i = at + width - 1; i >= at; i -= 1) {
    const tenth = Math.floor(rest / 10);
    bytes[i] = 0x30 + rest - tenth * 10;
    rest = tenth;
  }
}

function pick<T>(values: readonly T[], h: number): T | null {
  return values[h % values.length] ?? null;
}
