// Canonical JSON of an object and its hash, as MongoDB will store the object. Scans find changes by this
// hash.
import { hash } from 'node:crypto';
import type { StripeObject } from './ports.js';

/**
 * Fields of a mirrored document that are not Stripe's: never hashed, never taken from an answer of Stripe.
 */
const ownFields = ['_id', '_sync', 'app'] as const;

/**
 * Prepares an object for the mirror: without the fields that are ours, and with every lone surrogate replaced
 * by U+FFFD, as BSON's UTF-8 encoding does. Hashing the surrogate itself would find a change on every scan.
 * @returns the object to store and the hash of its canonical JSON (keys sorted by code unit), 22 characters
 *   of base64url.
 */
export function prepare(received: StripeObject): { object: StripeObject; hash: string } {
  const object = ownFields.some((field) => Object.hasOwn(received, field))
    ? withoutOwnFields(received)
    : received;
  const json = canonicalJson(object);
  if (!loneSurrogateEscape.test(json)) return { object, hash: digest(json) };
  // An id is well-formed, so making strings well-formed cannot change it.
  const wellFormed = toWellFormed(object) as StripeObject;
  return { object: wellFormed, hash: digest(canonicalJson(wellFormed)) };
}

// JSON.stringify escapes only lone surrogates. A text that contains such an escape literally costs one more
// pass.
const loneSurrogateEscape = /\\ud[89a-f][0-9a-f]{2}/;

// 132 bits: a collision of two states of one customer is too improbable to matter.
const digest = (json: string): string => hash('sha256', json, 'base64url').slice(0, 22);

function withoutOwnFields(object: StripeObject): StripeObject {
  const entries = Object.entries(object).filter(([key]) => !(ownFields as readonly string[]).includes(key));
  return fromEntries(entries) as StripeObject; // `id` is still there
}

/**
 * JSON with sorted keys. A value that JSON lacks (a batch may hold any that BSON has) has a text that no JSON
 * equals. The text of a value is that of what MongoDB returns for it. The input has no cycles.
 */
export function canonicalJson(value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (typeof value !== 'object' || value === null) return textOfScalar(value);
  let json = '';
  if (Array.isArray(value)) {
    for (const item of value) json += `${json === '' ? '' : ','}${canonicalJson(item)}`;
    return `[${json}]`;
  }
  if (!isPlain(value)) {
    const text = textOfBson(value);
    if (text !== undefined) return text;
  }
  const record = value as Record<string, unknown>; // neither null nor an array: a JSON object
  const { sorted } = keyOrderOf(Object.keys(record));
  for (const { key, before } of sorted) json += `${before}${canonicalJson(record[key])}`;
  return `{${json}}`;
}

/** JSON and JavaScript write these alike. Like the driver, undefined counts as null. */
const textOfScalar = (value: unknown): string => `${(value ?? null) as number | bigint | boolean | null}`; // no data is a function or a symbol

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
};

/** The classes of BSON, as far as they are used here; this folder does not know MongoDB. */
interface BsonValue {
  readonly _bsontype: string;
  readonly pattern?: string;
  readonly options?: string;
  readonly collection?: string;
  readonly oid?: unknown;
  readonly db?: string | null;
  readonly fields?: object;
  toString(): string;
  toExtendedJSON(options: object): unknown;
}

/** Undefined for an object that is stored by its keys, like a plain one. */
function textOfBson(value: object): string | undefined {
  if (value instanceof Date) return `@date:${value.getTime() || 0}`; // BSON has no invalid date
  if (value instanceof RegExp)
    return textOfRegExp(value.source, value.flags.replace('s', '').replace('g', 's'));
  if (value instanceof Uint8Array) return textOfBinary(value);
  if (value instanceof Map) return canonicalJson(fromEntries(value as Map<string, unknown>)); // keys are texts in BSON
  if ('toBSON' in value && typeof value.toBSON === 'function')
    return canonicalJson(Reflect.apply(value.toBSON, value, []));
  if (!('_bsontype' in value) || Object.hasOwn(value, '_bsontype')) return undefined;
  const bson = value as BsonValue; // its class has the mark
  switch (bson._bsontype) {
    case 'Int32':
    case 'Double':
    case 'BSONSymbol':
      return canonicalJson(bson.valueOf()); // read as numbers and strings
    case 'Long':
      return bson.toString();
    case 'BSONRegExp':
      return textOfRegExp(bson.pattern ?? '', bson.options ?? '');
    case 'DBRef': {
      const { collection, oid, db, fields } = bson;
      return canonicalJson({ $ref: collection, $id: oid, ...(db != null && { $db: db }), ...fields });
    }
    default:
      return `@${canonicalJson(bson.toExtendedJSON({ relaxed: false }))}`;
  }
}

/** The driver stores and returns no other flags than these; `s` is its name for `g`. */
const textOfRegExp = (source: string, flags: string): string =>
  `@regex:${quoted(source)}:${['i', 'm', 's'].filter((flag) => flags.includes(flag)).join('')}`;

const textOfBinary = (bytes: Uint8Array): string =>
  `@${canonicalJson({ $binary: { base64: Buffer.from(bytes).toString('base64'), subType: '00' } })}`;

const needsNoEscape = /^[ !#-[\]-~]*$/;

/** A JSON string. Two quotes are enough for nearly every value, and cheaper than JSON.stringify. */
const quoted = (text: string): string => (needsNoEscape.test(text) ? `"${text}"` : JSON.stringify(text));

function toWellFormed(value: unknown): unknown {
  if (typeof value === 'string') return wellFormed(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(toWellFormed);
  if (!isPlain(value)) return value;
  return fromEntries(Object.entries(value).map(([key, field]) => [wellFormed(key), toWellFormed(field)]));
}

// Encoding to UTF-8 replaces lone surrogates, as BSON does. (String.prototype.toWellFormed is not in the
// ES2023 library.)
const wellFormed = (text: string): string => Buffer.from(text, 'utf8').toString('utf8');

/** Keeps a key `__proto__` as a field: Object.fromEntries defines properties, it does not assign them. */
const fromEntries = (entries: Iterable<readonly [string, unknown]>): Record<string, unknown> =>
  Object.fromEntries(entries);

// A cache of sorted keys. Most customers have the same keys in the same order, and sorting them anew for each
// took a third of the time of hashing a page.
interface KeyOrder {
  /** As an object has them. */
  readonly received: readonly string[];
  /** By code unit, each with the JSON before its value: the comma, the key and the colon. */
  readonly sorted: readonly { readonly key: string; readonly before: string }[];
}

/** A power of two, larger than the number of kinds of object in a customer; `metadata` has any keys. */
const cachePlaces = 128;
/** Larger objects than any of Stripe's are not cached. */
const maxCachedKeys = 256;

const cache: (KeyOrder | undefined)[] = Array.from({ length: cachePlaces });

/** @param received as returned by Object.keys */
function keyOrderOf(received: readonly string[]): KeyOrder {
  const place = placeOf(received);
  const cached = cache[place];
  if (cached && isSame(cached.received, received)) return cached;
  const keys = [...received].sort();
  const sorted = keys.map((key, at) => ({ key, before: `${at === 0 ? '' : ','}${JSON.stringify(key)}:` }));
  const order = { received, sorted };
  if (received.length <= maxCachedKeys) cache[place] = order;
  return order;
}

/**
 * Cheap, and different for most kinds of object. Objects that share a place replace each other in the cache.
 */
function placeOf(keys: readonly string[]): number {
  const first = keys[0]?.length ?? 0;
  const last = keys.at(-1)?.length ?? 0;
  return (keys.length * 31 + first * 7 + last) & (cachePlaces - 1);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}
