// The figures of the tree of src in docs/architecture.md. The median is rounded, so that it changes seldom.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const shortLines = 40;
const importPath = /(?:from|import\()\s*'(\.{1,2}\/[^']+)\.js'/g;

/** Rows of name and value, for the files of `src` below `root`. */
export function treeFigures(root: string): readonly (readonly [string, string])[] {
  const names = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join('src', name));
  const texts = new Map(names.map((name) => [name, readFileSync(join(root, name), 'utf8')]));
  const lines = [...texts.values()].map((text) => text.trimEnd().split('\n').length).sort((a, b) => a - b);
  const importers = new Map<string, number>();
  for (const [name, text] of texts) {
    const imported = [...text.matchAll(importPath)].map(([, path = '']) => join(dirname(name), `${path}.ts`));
    for (const path of new Set(imported)) importers.set(path, (importers.get(path) ?? 0) + 1);
  }
  const median = lines[Math.floor(lines.length / 2)] ?? 0;
  return [
    ['files', String(names.length)],
    ['median of their lines, to the nearest ten', String(Math.round(median / 10) * 10)],
    [`files below ${shortLines} lines`, String(lines.filter((count) => count < shortLines).length)],
    ['files with a single importer', String([...importers.values()].filter((count) => count === 1).length)],
  ];
}
