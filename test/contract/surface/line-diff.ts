// Two texts line by line, for a person to read.

const linesAround = 3;

interface Line {
  readonly mark: ' ' | '-' | '+';
  readonly text: string;
}

/** Lines that went (`-`) and came (`+`), each with up to three lines around it; '' where the texts are the same. */
export function lineDiff(before: string, after: string): string {
  const lines = compared(before.split('\n'), after.split('\n'));
  const changed = lines.flatMap(({ mark }, index) => (mark === ' ' ? [] : [index]));
  const shown = lines.flatMap(({ mark, text }, index) => {
    const isNear = changed.some((at) => Math.abs(at - index) <= linesAround);
    return isNear ? [{ index, line: `${mark} ${text}`.trimEnd() }] : [];
  });
  return shown
    .flatMap(({ index, line }, n) => (index > (shown[n - 1]?.index ?? index) + 1 ? ['…', line] : [line]))
    .join('\n');
}

/** By the longest common subsequence, between what both begin and end with. */
function compared(before: readonly string[], after: readonly string[]): readonly Line[] {
  let from = 0;
  while (from < Math.min(before.length, after.length) && before[from] === after[from]) from += 1;
  const most = Math.min(before.length, after.length) - from;
  let same = 0;
  while (same < most && before[before.length - 1 - same] === after[after.length - 1 - same]) same += 1;
  const old = before.slice(from, before.length - same);
  const young = after.slice(from, after.length - same);
  const kept = (texts: readonly string[]): Line[] => texts.map((text) => ({ mark: ' ', text }));
  return [...kept(before.slice(0, from)), ...middle(old, young), ...kept(before.slice(before.length - same))];
}

function middle(old: readonly string[], young: readonly string[]): readonly Line[] {
  // common[i][j]: how many lines old from i and young from j have in common, in order.
  const common = Array.from({ length: old.length + 1 }, () => new Uint32Array(young.length + 1));
  const at = (i: number, j: number): number => common[i]?.[j] ?? 0;
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = young.length - 1; j >= 0; j -= 1) {
      common[i]![j] = old[i] === young[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < old.length || j < young.length) {
    if (i < old.length && j < young.length && old[i] === young[j]) {
      lines.push({ mark: ' ', text: old[i]! });
      i += 1;
      j += 1;
    } else if (j >= young.length || (i < old.length && at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ mark: '-', text: old[i]! });
      i += 1;
    } else {
      lines.push({ mark: '+', text: young[j]! });
      j += 1;
    }
  }
  return lines;
}
