// JSON as it was written: integers that a number of JavaScript cannot hold stay exact.
import { randomUUID } from 'node:crypto';

/**
 * As JSON.parse, but an integer beyond 2^53 that fits 64 bits becomes a bigint, which MongoDB stores as a
 * long. JSON.parse would round it. Larger integers, and decimals, are rounded as JSON.parse does.
 * @throws SyntaxError
 */
export function parseExactJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  return hasUnsafeNumber(value) ? parseWithBigInts(text) : value;
}

/** A walk takes a tenth of the time of parsing; a search for long numbers in the text takes more. */
function hasUnsafeNumber(value: unknown): boolean {
  if (typeof value === 'number') return value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER;
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(hasUnsafeNumber);
  for (const key in value) {
    const field = (value as Readonly<Record<string, unknown>>)[key]; // out of JSON.parse: own keys only
    if (typeof field !== 'string' && hasUnsafeNumber(field)) return true;
  }
  return false;
}

/** A whole number of 16 digits or more, no part of a decimal and no exponent. */
const longInteger = /(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g;

function parseWithBigInts(text: string): unknown {
  // No text of the sender's can begin like this.
  const mark = `${randomUUID()}:`;
  const marked = outsideStrings(text, (part) =>
    part.replace(longInteger, (digits) => (isExactOnlyAsBigInt(digits) ? `"${mark}${digits}"` : digits)),
  );
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );
}

function isExactOnlyAsBigInt(digits: string): boolean {
  const value = BigInt(digits);
  return !Number.isSafeInteger(Number(digits)) && BigInt.asIntN(64, value) === value;
}

/** Replaces what stands between the strings of a valid JSON text. */
function outsideStrings(text: string, replace: (part: string) => string): string {
  const parts: string[] = [];
  for (let at = 0; at < text.length;) {
    const opens = text.indexOf('"', at);
    if (opens < 0) {
      parts.push(replace(text.slice(at)));
      break;
    }
    const end = stringEnd(text, opens);
    parts.push(replace(text.slice(at, opens)), text.slice(opens, end));
    at = end;
  }
  return parts.join('');
}

/** After the closing quote of the string that opens there. */
function stringEnd(text: string, opens: number): number {
  for (let quote = text.indexOf('"', opens + 1); ; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
  }
}
