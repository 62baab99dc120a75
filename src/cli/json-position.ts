// Finds where a text stops being JSON. JSON.parse does not always tell, and what it does tell quotes the text, which holds
// customers' data.

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

/** Offset of the first character that cannot stand where it stands, the text's length where it ends too early; undefined for JSON. */
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

    // It has ended: what it stands in closes or goes on.
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
