// Canonical JSON of an object and its hash, as MongoDB will hold the object: the diff between scans rests on it.
import { hash } from 'node:crypto';
import type { StripeObject } from './ports.js';

/** Fields of a mirrored document that are not Stripe's: never hashed, never taken from what Stripe sent. */
const ownFields = ['_id', '_sync', 'app'] as const;

/**
 * Prepares an object for the mirror: without the fields that are ours, and with every lone surrogate as U+FFFD, which is
 * what BSON's UTF-8 would make of it; hashing anything else would find a change on every run.
 * @returns the object to store and the hash of its canonical JSON (keys sorted by code unit), 22 characters of base64url.
 */
export function prepare(received: StripeObject): { object: StripeObject; hash: string } {
  const object = ownFields.some((field) => Object.hasOwn(received, field))
    ? withoutOwnFields(received)
    : received;
  const json = canonicalJson(object);
  if (!loneSurrogateEscape.test(json)) return { object, hash: digest(json) };
  // The id pattern is ASCII, so making strings well-formed cannot change the id.
  const wellFormed = toWellFormed(object) as StripeObject;
  return { object: wellFormed, hash: digest(canonicalJson(wellFormed)) };
}

// JSON.stringify escapes exactly the lone surrogates. A text that contains such an escape literally costs one more pass, no more.
const loneSurrogateEscape = /\\ud[89a-f][0-9a-f]{2}/;

// 132 bits: two states of one customer collide with a probability that no account will ever meet.
const digest = (json: string): string => hash('sha256', json, 'base64url').slice(0, 22);

function withoutOwnFields(object: StripeObject): StripeObject {
  const entries = Object.entries(object).filter(([key]) => !(ownFields as readonly string[]).includes(key));
  return fromEntries(entries) as StripeObject; // only fields that are not `id` were left out
}

/** JSON with sorted keys. Input is what JSON.parse gives: no cycles, no undefined, no dates. */
export function canonicalJson(value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (typeof value !== 'object' || value === null) return String(value); // of these JSON and JavaScript write all alike
  let json = '';
  if (Array.isArray(value)) {
    for (const item of value) json += `${json === '' ? '' : ','}${canonicalJson(item)}`;
    return `[${json}]`;
  }
  const record = value as Record<string, unknown>; // neither null nor array: an object of JSON
  const { sorted } = keyOrderOf(Object.keys(record));
  for (const { key, before } of sorted) json += `${before}${canonicalJson(record[key])}`;
  return `{${json}}`;
}

const needsNoEscape = /^[ !#-[\]-~]*$/;

/** A string of JSON. JSON.stringify is a call out of JavaScript; for nearly every value of a customer two quotes will do. */
const quoted = (text: string): string => (needsNoEscape.test(text) ? `"${text}"` : JSON.stringify(text));

function toWellFormed(value: unknown): unknown {
  if (typeof value === 'string') return wellFormed(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(toWellFormed);
  return fromEntries(Object.entries(value).map(([key, field]) => [wellFormed(key), toWellFormed(field)]));
}

// Encoding to UTF-8 replaces lone surrogates, as BSON does. (String.prototype.toWellFormed is not in the ES2023 library.)
const wellFormed = (text: string): string => Buffer.from(text, 'utf8').toString('utf8');

/** Object.fromEntries that keeps a key `__proto__` as a field of its own (it defines properties, it does not assign). */
const fromEntries = (entries: Iterable<readonly [string, unknown]>): Record<string, unknown> =>
  Object.fromEntries(entries);

// The keys of an object in the order of canonical JSON. Customers arrive by the hundred with the same keys in the same order: sorting these
// again for each was a third of the time that a page's hashes take.
/** Of the objects with these keys in this order. */
export interface KeyOrder {
  readonly received: readonly string[];
  /** Keys by code unit, and what JSON has before the value of each: the comma, the key and the colon. */
  readonly sorted: readonly { readonly key: string; readonly before: string }[];
}

/** A power of two. More than the kinds of object in a customer; metadata comes with any keys. */
const places = 128;
/** What is larger than anything of Stripe's is not kept. */
const mostKeys = 256;

const known: (KeyOrder | undefined)[] = Array.from({ length: places });

/** @param received as Object.keys gives them */
function keyOrderOf(received: readonly string[]): KeyOrder {
  const place = placeOf(received);
  const last = known[place];
  if (last && isSame(last.received, received)) return last;
  const keys = [...received].sort();
  const sorted = keys.map((key, at) => ({ key, before: `${at === 0 ? '' : ','}${JSON.stringify(key)}:` }));
  const order = { received, sorted };
  if (received.length <= mostKeys) known[place] = order;
  return order;
}

/** Cheap, and different for most kinds of object. Those that share a place take it from one another. */
function placeOf(keys: readonly string[]): number {
  const first = keys[0]?.length ?? 0;
  const last = keys.at(-1)?.length ?? 0;
  return (keys.length * 31 + first * 7 + last) & (places - 1);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}
