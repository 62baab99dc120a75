// Aligned columns, as wide as what is in them. On a terminal columns that matter least give way, and lines end at its edge.

export interface Column {
  readonly header: string;
  readonly align?: 'right';
  /** Left out where the last column has no room: the highest goes first. Without it the column always stays. */
  readonly gives?: number;
}

const gap = 2;
/** What the last column is to have of a terminal's width. */
const roomOfLast = 18;

/**
 * The header and one line a row. `width` is that of the terminal; without it nothing is cut.
 * Cells may come from anybody: control characters are replaced.
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

/** One line: what could move the cursor is replaced. */
export const plain = (text: string): string => text.replace(/\p{Cc}/gu, '\u{fffd}');

const lengthOf = (text: string): number => Array.from(text).length;

/** At most `width` characters, with … where something is missing. */
export function cut(text: string, width: number): string {
  if (lengthOf(text) <= width) return text;
  const kept = Array.from(text).slice(0, Math.max(0, width - 1));
  return `${kept.join('').trimEnd()}…`;
}
