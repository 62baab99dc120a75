// Aligned columns, as wide as their cells. A narrow terminal omits the least important columns and cuts lines
// at its edge.
export interface Column {
  readonly header: string;
  readonly align?: 'right';
  /**
   * Where the last column lacks room, the column with the highest number is omitted first. A column without a
   * number always stays.
   */
  readonly gives?: number;
}

const gap = 2;
/** Minimum width of the last column, in characters. */
const roomOfLast = 18;

/**
 * The header and one line per row. `width` is that of the terminal; without it nothing is cut. Control
 * characters are escaped, because cells may come from untrusted requests.
 */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width = Infinity,
): readonly string[] {
  const cells = [columns.map(({ header }) => header), ...rows].map((row) => row.map(plain));
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => lengthOf(row[index] ?? ''))));
  const shown = fitting(columns, widths, width);
  return cells.map((row) => {
    const padded = shown.map((index) => {
      const cell = row[index] ?? '';
      const space = ' '.repeat(Math.max(0, (widths[index] ?? 0) - lengthOf(cell)));
      return columns[index]?.align === 'right' ? `${space}${cell}` : `${cell}${space}`;
    });
    return cut(padded.join(' '.repeat(gap)).trimEnd(), width);
  });
}

/** Indexes of the columns that are shown. */
function fitting(columns: readonly Column[], widths: readonly number[], width: number): readonly number[] {
  let shown = columns.map((_, index) => index);
  const last = columns.length - 1;
  const isTight = (): boolean => {
    const fixed = shown.reduce((sum, index) => sum + (index === last ? 0 : (widths[index] ?? 0) + gap), 0);
    return width - fixed < Math.min(widths[last] ?? 0, roomOfLast);
  };
  while (isTight()) {
    const most = Math.max(...shown.map((index) => columns[index]?.gives ?? 0));
    if (most === 0) break;
    shown = shown.filter((index) => columns[index]?.gives !== most);
  }
  return shown;
}

/** What could move the cursor, end the line or turn the direction of a text: an id may hold any character. */
const unprintable = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
const shortEscapes: Readonly<Record<string, string>> = { '\n': '\\n', '\t': '\\t', '\r': '\\r' };

const escaped = (character: string): string =>
  shortEscapes[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** One line: unprintable characters are shown as JSON escapes them. */
export const plain = (text: string): string => text.replace(unprintable, escaped);

/** As `plain`, of a text of several lines with tabs. In a line of JSON it changes no value. */
export const printable = (text: string): string =>
  text.replace(unprintable, (character) =>
    character === '\n' || character === '\t' ? character : escaped(character),
  );

const lengthOf = (text: string): number => Array.from(text).length;

/** At most `width` characters, with … where something is missing. */
export function cut(text: string, width: number): string {
  if (lengthOf(text) <= width) return text;
  const kept = Array.from(text).slice(0, Math.max(0, width - 1));
  return `${kept.join('').trimEnd()}…`;
}

export type Fact = readonly [name: string, value: string | null | undefined];

/** A name and a value per line; unknown values are left out. */
export function alignedFacts(facts: readonly Fact[]): readonly string[] {
  const known = facts.flatMap(([name, value]) => (value ? [[name, plain(value)] as const] : []));
  const width = Math.max(...known.map(([name]) => name.length));
  return known.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

// Text forms of numbers and times in the output of commands.
const formatted = new Intl.NumberFormat('en');

/** `12,300` */
export const count = (value: number): string => formatted.format(value);

/** `1 request`, `12 requests` */
export const counted = (value: number, noun: string): string =>
  `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

/** `42 %`, rounded down, so that 100 % appears only at the end. */
export const percent = (ratio: number): string => `${Math.floor(ratio * 100)} %`;

/** `0.42 s`, `4.2 s`, `4 s`, `42 s`, `3 min 20 s`, `2 h 5 min` */
export function duration(seconds: number): string {
  if (Number.isInteger(seconds) && seconds < 60) return `${seconds} s`;
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${count(Math.floor(whole / 3_600))} h ${Math.floor((whole % 3_600) / 60)} min`;
}

/** As `duration`, for a column: `0.4s`, `42s`, `3m20s`, `2h5m`, `4d3h`. */
export function shortDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (seconds < 0) return '0s';
  if (seconds < 9.95) return `${Number(seconds.toFixed(1))}s`;
  const pair = (large: string, by: number, small: string, per: number): string => {
    const rest = Math.floor((whole % by) / per);
    return `${Math.floor(whole / by)}${large}${rest > 0 ? `${rest}${small}` : ''}`;
  };
  if (whole < 60) return `${whole}s`;
  if (whole < 3_600) return pair('m', 60, 's', 1);
  if (whole < 86_400) return pair('h', 3_600, 'm', 60);
  return pair('d', 86_400, 'h', 3_600);
}

export const secondsBetween = (from: Date, to: Date): number => (to.getTime() - from.getTime()) / 1_000;

/** `2026-01-31 12:00:00Z` */
export const timeText = (time: Date): string => time.toISOString().replace('T', ' ').replace(/\.\d+/, '');
