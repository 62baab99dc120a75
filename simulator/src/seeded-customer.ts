// Customers of a seed, rendered whenever they are asked for, so that a million of them takes no memory.
// Each is a ready-made piece of JSON (a kind) into which the few fields that differ are written.
import { indented, type JsonWriter, type Place, stripeJson } from './json-writer.js';
import { hash32 } from './random.js';
import { type BatchTraits, emailOf, sampleCustomer } from './sample-customer.js';

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

export class SeededCustomers {
  private readonly kinds: Record<Place, Kind[]> = { alone: [], listed: [] };

  constructor(private readonly traits: BatchTraits) {}

  /** The e-mail of a customer, without rendering the rest. */
  email(ordinal: number): string {
    return emailOf(String(ordinal).padStart(ORDINAL.length, '0'), this.traits.seed);
  }

  /** Writes the whole customer as JSON, as long as the traits say on average. */
  write(writer: JsonWriter, place: Place, id: string, created: number, ordinal: number): void {
    const number = hash32(ordinal, this.traits.seed) % KIND_COUNT;
    const kind = (this.kinds[place][number] ??= createKind(number, place, this.traits));
    const { bytes, at } = writer.copy(kind.bytes);
    bytes.write(id, at + kind.idAt, 'latin1');
    writeSeconds(bytes, at + kind.createdAt, created);
    writeDigits(bytes, at + kind.emailOrdinalAt, ordinal, ORDINAL.length);
    writeDigits(bytes, at + kind.accountOrdinalAt, ordinal, ORDINAL.length);
  }
}

function createKind(number: number, place: Place, traits: BatchTraits): Kind {
  const sample = sampleCustomer(number, { id: ID, created: CREATED, ordinal: ORDINAL }, traits);
  const bytes = Buffer.from(indented(stripeJson(sample), place));
  const after = (text: string): number => bytes.indexOf(text) + text.length;
  return {
    bytes,
    idAt: after('"id": "'),
    createdAt: after('"created": '),
    emailOrdinalAt: after('"email": "customer.'),
    accountOrdinalAt: after('"account": "'),
  };
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
