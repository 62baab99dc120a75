// Reads customers from text: a JSON array, one JSON object, a list as Stripe's API returns it, or one object a line (NDJSON).
// Faults name the place and never the content, which is persons' data.
import { describeType } from '../requests/describe-value.js';
import { isStripeId } from '../sync/ports.js';
import { jsonFaultOffset, lineAndColumn } from './json-position.js';
import { limitedFaults, UsageFault } from './usage-fault.js';

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
 * The customers of a text, in their order.
 * @throws UsageFault that names every fault: the text is no JSON, holds nothing, or an entry is no object with a valid id
 */
export function parseBatch(text: string, name: string): readonly BatchEntry[] {
  const found = readEntries(text, name);
  if (found.length === 0) throw new UsageFault([`${name} holds no customers`]);
  const faults: string[] = [];
  const entries: BatchEntry[] = [];
  for (const { value, place } of found) {
    if (hasValidId(value)) entries.push({ customer: value, place });
    else
      faults.push(
        `${name}: ${place} must be a customer object with an id such as cus_123, got ${shown(value)}`,
      );
  }
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return entries;
}

function readEntries(text: string, name: string): readonly Found[] {
  if (text.trim() === '') return [];
  const whole = parseJson(text);
  if (whole.kind === 'json') return entriesOf(whole.value);

  const lines = text.split('\n').flatMap((line, index) => {
    return line.trim() === '' ? [] : [{ line, before: index, parsed: parseJson(line) }];
  });
  // One object a line only if the first line is one; otherwise the whole text is what its author takes for JSON.
  if (lines.length < 2 || lines[0]?.parsed.kind !== 'json') {
    throw new UsageFault([`${name}: ${whereWrong(text, 0)}`]);
  }
  const found: Found[] = [];
  const faults: string[] = [];
  for (const { line, before, parsed } of lines) {
    if (parsed.kind === 'json') found.push({ value: parsed.value, place: `line ${before + 1}` });
    else faults.push(`${name}: ${whereWrong(line, before)}`);
  }
  if (faults.length > 0) throw new UsageFault(limitedFaults(faults));
  return found;
}

/** What a document of its own holds: an array's items, the `data` of a list of Stripe's, or itself. */
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

type Parsed = { readonly kind: 'json'; readonly value: unknown } | { readonly kind: 'wrong' };

function parseJson(text: string): Parsed {
  try {
    return { kind: 'json', value: JSON.parse(text) as unknown };
  } catch {
    return { kind: 'wrong' };
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
