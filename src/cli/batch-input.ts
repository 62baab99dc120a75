// Reads customers from text: a JSON array, one JSON object, a list as the Stripe API returns it, or one
// object per line (NDJSON). Faults name the place and never the content, which is personal data.
import { createReadStream } from 'node:fs';
import { parseExactJson } from '../base/exact-json.js';
import { hasNulKey } from '../mongo/bson.js';
import { describeType, nulKeyFault } from '../requests/parse.js';
import { isStripeId } from '../sync/ports.js';
import { limitedFaults, UsageFault } from './faults.js';

export interface BatchEntry {
  readonly customer: object & { readonly id: string };
  /** Where it stood: `entry 3`, `line 3`. */
  readonly place: string;
}

interface Found {
  readonly value: unknown;
  readonly place: string;
}

/**
 * The customers in a text, in order.
 * @throws UsageFault that names every fault: the text is not JSON, it is empty, or an entry is not an object
 *   with a valid id, or has a key that MongoDB cannot store
 */
export function parseBatch(text: string, name: string): readonly BatchEntry[] {
  const found = readEntries(text, name);
  if (found.length === 0) throw new UsageFault([`${name} holds no customers`]);
  const faults: string[] = [];
  const entries: BatchEntry[] = [];
  for (const { value, place } of found) {
    const must = `${name}: ${place} must be a customer object with an id such as cus_123`;
    if (!hasValidId(value)) faults.push(`${must}, got ${shown(value)}`);
    else if (hasNulKey(value)) faults.push(`${name}: ${place} ${nulKeyFault}`);
    else entries.push({ customer: value, place });
  }
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return entries;
}

function readEntries(text: string, name: string): readonly Found[] {
  if (text.trim() === '') return [];
  const whole = parseJson(text);
  if (whole) return entriesOf(whole.value);

  const lines = text.split('\n').flatMap((line, index) => {
    return line.trim() === '' ? [] : [{ line, before: index, parsed: parseJson(line) }];
  });
  // One object per line only if the first line parses; otherwise the whole text was meant as one JSON value.
  if (lines.length < 2 || !lines[0]?.parsed) {
    throw new UsageFault([`${name}: ${whereWrong(text, 0)}`]);
  }
  const found: Found[] = [];
  const faults: string[] = [];
  for (const { line, before, parsed } of lines) {
    if (parsed) found.push({ value: parsed.value, place: `line ${before + 1}` });
    else faults.push(`${name}: ${whereWrong(line, before)}`);
  }
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return found;
}

/** The entries of a document: the items of an array, the `data` of a Stripe list, or the document itself. */
function entriesOf(value: unknown): readonly Found[] {
  const items = Array.isArray(value) ? (value as unknown[]) : listData(value);
  return items
    ? items.map((item, index) => ({ value: item, place: `entry ${index + 1}` }))
    : [{ value, place: 'the text' }];
}

function listData(value: unknown): readonly unknown[] | undefined {
  const isList = typeof value === 'object' && value !== null && 'object' in value && value.object === 'list';
  return isList && 'data' in value && Array.isArray(value.data) ? (value.data as unknown[]) : undefined;
}

/** Undefined if the text is not JSON. */
function parseJson(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: parseExactJson(text) };
  } catch {
    return undefined;
  }
}

function whereWrong(text: string, linesBefore: number): string {
  const offset = jsonFaultOffset(text) ?? text.length;
  const { line, column } = lineAndColumn(text, offset);
  const ended = text.slice(offset).trim() === '' ? ', where the text ends too early' : '';
  return `invalid JSON at line ${line + linesBefore}, column ${column}${ended}`;
}

const hasValidId = (value: unknown): value is BatchEntry['customer'] =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  'id' in value &&
  isStripeId(value.id);

function shown(value: unknown): string {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject) return describeType(value);
  return 'id' in value ? `an object whose id is ${describeType(value.id)}` : 'an object without one';
}

// Finds where a text stops being JSON. JSON.parse does not always tell, and its message quotes the text,
// which is personal data.
const blank = /[ \t\n\r]*/y;
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** Where `pattern` ends when it matches at `at`; undefined when it does not. */
function matchEnd(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}

const skipBlank = (text: string, at: number): number => matchEnd(blank, text, at) ?? at;

type Step = { readonly end: number } | { readonly wrongAt: number };

/** A string that opens at `at`. */
function stringEnd(text: string, at: number): Step {
  for (let index = at + 1; index < text.length; index += 1) {
    const character = text.charAt(index);
    if (character === '"') return { end: index + 1 };
    if (character < ' ') return { wrongAt: index };
    if (character !== '\\') continue;
    const end = matchEnd(escape, text, index);
    if (end === undefined) return { wrongAt: index };
    index = end - 1;
  }
  return { wrongAt: text.length };
}

/** A key with its colon, and the blanks around them. */
function keyEnd(text: string, at: number): Step {
  if (text.charAt(at) !== '"') return { wrongAt: at };
  const key = stringEnd(text, at);
  if (!('end' in key)) return key;
  const colon = skipBlank(text, key.end);
  return text.charAt(colon) === ':' ? { end: skipBlank(text, colon + 1) } : { wrongAt: colon };
}

function scalarEnd(text: string, at: number): Step {
  if (text.charAt(at) === '"') return stringEnd(text, at);
  const end = matchEnd(scalar, text, at);
  return end === undefined ? { wrongAt: at } : { end };
}

/**
 * Offset of the first invalid character; the text's length if the text ends too early; undefined for valid
 * JSON.
 */
export function jsonFaultOffset(text: string): number | undefined {
  const closers: ('}' | ']')[] = [];
  let at = skipBlank(text, 0);
  for (;;) {
    // A value begins here.
    const opener = text.charAt(at);
    if (opener === '{' || opener === '[') {
      const closer = opener === '{' ? '}' : ']';
      const first = skipBlank(text, at + 1);
      if (text.charAt(first) !== closer) {
        closers.push(closer);
        const start = closer === '}' ? keyEnd(text, first) : { end: first };
        if (!('end' in start)) return start.wrongAt;
        at = start.end;
        continue;
      }
      at = first + 1;
    } else {
      const value = scalarEnd(text, at);
      if (!('end' in value)) return value.wrongAt;
      at = value.end;
    }

    // The value has ended: its container closes or continues.
    at = skipBlank(text, at);
    while (closers.length > 0 && text.charAt(at) === closers.at(-1)) {
      closers.pop();
      at = skipBlank(text, at + 1);
    }
    const closer = closers.at(-1);
    if (closer === undefined) return at < text.length ? at : undefined;
    if (text.charAt(at) !== ',') return at;
    const next = skipBlank(text, at + 1);
    const start = closer === '}' ? keyEnd(text, next) : { end: next };
    if (!('end' in start)) return start.wrongAt;
    at = start.end;
  }
}

/** Line and column of an offset, both counted from 1. */
export function lineAndColumn(
  text: string,
  offset: number,
): { readonly line: number; readonly column: number } {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { line: before.split('\n').length, column: offset - lineStart + 1 };
}

/** All of the input is read before anything is inserted, so that a fault on the last line changes nothing. */
const maxInputBytes = 256 * 1024 * 1024;

/**
 * The text of the file, or of standard input for `-`.
 * @throws UsageFault if the file is not readable, too large, or not UTF-8
 */
export async function readInput(file: string, stdin: NodeJS.ReadableStream): Promise<string> {
  const name = inputName(file);
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    const stream: AsyncIterable<unknown> = file === '-' ? stdin : createReadStream(file);
    for await (const chunk of stream) {
      const buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
      bytes += buffer.byteLength;
      if (bytes > maxInputBytes) {
        throw new UsageFault([`${name} must have at most ${maxInputBytes} bytes: give it in several parts`]);
      }
      chunks.push(buffer);
    }
  } catch (error) {
    if (error instanceof UsageFault) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    throw new UsageFault([`FILE must be a readable file or - for standard input, got "${file}" (${code})`]);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new UsageFault([`${name} must be text in UTF-8`]);
  }
}

/** As it stands in messages. */
export const inputName = (file: string): string => (file === '-' ? 'standard input' : file);
