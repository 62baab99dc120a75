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

/** JSON with sorted keys. The input is what JSON.parse returns: no cycles, no undefined, no dates. */
export function canonicalJson(value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (typeof value !== 'object' || value === null) return String(value); // JSON and JavaScript write these alike
  let json = '';
  if (Array.isArray(value)) {
    for (const item of value) json += `${json === '' ? '' : ','}${canonicalJson(item)}`;
    return `[${json}]`;
  }
  const record = value as Record<string, unknown>; // neither null nor an array: a JSON object
  const { sorted } = keyOrderOf(Object.keys(record));
  for (const { key, before } of sorted) json += `${before}${canonicalJson(record[key])}`;
  return `{${json}}`;
}

const needsNoEscape = /^[ !#-[\]-~]*$/;

/** A JSON string. Two quotes are enough for nearly every value, and cheaper than JSON.stringify. */
const quoted = (text: string): string => (needsNoEscape.test(text) ? `"${text}"` : JSON.stringify(text));

function toWellFormed(value: unknown): unknown {
  if (typeof value === 'string') return wellFormed(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(toWellFormed);
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
