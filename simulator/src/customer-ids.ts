// Customer ids that look like Stripe's and can be turned back into the record's number, so that a million customers
// need no map of ids.
import { hash32 } from './random.js';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const PAIRS = Array.from(
  { length: 3844 },
  (_, i) => ALPHABET.charAt(Math.floor(i / 62)) + ALPHABET.charAt(i % 62),
);
const ODD = 0x9e3779b1;
// The inverse of ODD modulo 2^32.
const ODD_INVERSE = inverse32(ODD);

export interface IdCodec {
  encode(record: number): string;
  /** The record's number; undefined when this codec never made the id. */
  decode(id: string): number | undefined;
}

/** `prefix` and 14 letters or digits. Different salts (account, mode) give ids that never meet. */
export function createIdCodec(prefix: string, salt: number): IdCodec {
  const encode = (record: number): string => {
    const scrambled = Math.imul((record ^ salt) >>> 0, ODD) >>> 0;
    const check = hash32(record, salt);
    return prefix + base62(scrambled, 6) + base62(check, 6) + base62(check >>> 7, 2);
  };
  const decode = (id: string): number | undefined => {
    if (id.length !== prefix.length + 14 || !id.startsWith(prefix)) return undefined;
    const scrambled = fromBase62(id, prefix.length, 6);
    if (scrambled === undefined || scrambled > 0xffffffff) return undefined;
    const record = (Math.imul(scrambled, ODD_INVERSE) ^ salt) >>> 0;
    return encode(record) === id ? record : undefined;
  };
  return { encode, decode };
}

/** A number as `length` letters or digits; higher digits are cut off. Two digits at a time, since lists need millions. */
export function base62(value: number, length: number): string {
  let rest = value;
  let text = '';
  for (let missing = length; missing > 1; missing -= 2) {
    text = (PAIRS[rest % 3844] ?? '') + text;
    rest = Math.floor(rest / 3844);
  }
  return length % 2 === 1 ? ALPHABET.charAt(rest % 62) + text : text;
}

function fromBase62(text: string, start: number, length: number): number | undefined {
  let value = 0;
  for (let i = start; i < start + length; i += 1) {
    const digit = ALPHABET.indexOf(text.charAt(i));
    if (digit < 0) return undefined;
    value = value * 62 + digit;
  }
  return value;
}

function inverse32(odd: number): number {
  let inverse = odd;
  // Newton's iteration doubles the number of right bits each time.
  for (let i = 0; i < 5; i += 1) inverse = Math.imul(inverse, 2 - Math.imul(odd, inverse));
  return inverse >>> 0;
}
