// How the demo prints a document: as mongosh would, with as much on a line as fits.
import { inspect, stripVTControlCharacters } from 'node:util';

const width = 100;
const maxItems = 5;

/** On one line, without colours. */
export const onOneLine = (found: unknown): string =>
  inspect(found, { depth: 6, breakLength: Infinity, compact: true });

/** With colours on a terminal. */
export function packed(found: unknown, left = width): string {
  const line = inspect(found, {
    depth: 6,
    breakLength: Infinity,
    compact: true,
    colors: process.stdout.isTTY,
  });
  const isNested = Array.isArray(found) || (isPlain(found) && Object.keys(found).length > 0);
  if (!isNested || lengthOf(line) <= left) return line;
  const lines = Array.isArray(found) ? linesOfList(found, left - 2) : linesOfFields(found, left - 2);
  const [open, close] = Array.isArray(found) ? ['[', ']'] : ['{', '}'];
  return `${open}\n${indented(lines.join(',\n'), 2)}\n${close}`;
}

export const indented = (text: string, by: number): string => text.replaceAll(/^/gm, ' '.repeat(by));

function linesOfList(list: readonly unknown[], left: number): string[] {
  const shown = list.slice(0, maxItems).map((item) => packed(item, left));
  return list.length > maxItems ? [...shown, `… ${list.length - maxItems} more`] : shown;
}

/** Fields share a line for as long as they fit. */
function linesOfFields(fields: object, left: number): string[] {
  const lines: string[] = [];
  for (const [name, value] of Object.entries(fields)) {
    const field = `${name}: ${packed(value, left - name.length - 2)}`;
    const last = lines.at(-1);
    const together = last === undefined ? field : `${last}, ${field}`;
    const fits = !together.includes('\n') && lengthOf(together) <= left;
    if (last !== undefined && fits) lines.splice(-1, 1, together);
    else lines.push(field);
  }
  return lines;
}

const isPlain = (found: unknown): found is object =>
  typeof found === 'object' && found !== null && Object.getPrototypeOf(found) === Object.prototype;

const lengthOf = (text: string): number => stripVTControlCharacters(text).length;
