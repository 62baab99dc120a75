// The planted faults of proof/planted still apply to src, and their laws name tests that there are.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { readLaws, unionOf } from '../../proof/planted/laws.js';
import { choose, readPatches } from '../../proof/planted/patches.js';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const patches = readPatches();
const laws = readLaws();

describe.each(patches)('$name', ({ name, law, path }) => {
  test('applies', () => {
    execFileSync('git', ['apply', '--check', path], { cwd: checkout });
  });

  test('is of a law whose tests are named, and is chosen by the law and by its name', () => {
    expect([...laws.keys()]).toContain(law);
    expect(choose(patches, [name]).map((patch) => patch.name)).toEqual([name]);
    expect(choose(patches, [law]).map((patch) => patch.name)).toContain(name);
  });
});

test('a name of no planted fault is refused', () => {
  expect(() => choose(patches, ['M6', 'M6-zz'])).toThrow('No planted fault is named M6-zz');
});

test('every file that shows a law is there', () => {
  const files = unionOf([...laws.values()]).flatMap((suite) => suite.files);
  expect(files.filter((file) => !existsSync(new URL(`../../${file}`, import.meta.url)))).toEqual([]);
});
