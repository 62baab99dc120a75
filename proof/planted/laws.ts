// Which tests show a law, as laws.yaml says.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';

/** Suites of vitest.config.ts, the quick ones first. */
const suites = ['unit', 'mongodb', 'faults'] as const;

/** One run of vitest: a suite and its files. */
export interface Suite {
  readonly name: (typeof suites)[number];
  readonly files: readonly string[];
}

const table = z.record(
  z.string().regex(/^[A-Z]\d+$/),
  z.strictObject(Object.fromEntries(suites.map((name) => [name, z.array(z.string()).min(1).optional()]))),
);

/** By law. @throws Error where laws.yaml does not parse */
export function readLaws(): ReadonlyMap<string, readonly Suite[]> {
  const text = readFileSync(new URL('laws.yaml', import.meta.url), 'utf8');
  const laws = Object.entries(table.parse(parse(text)));
  return new Map(
    laws.map(([law, filesOf]) => [
      law,
      suites.flatMap((name) => {
        const files = filesOf[name];
        return files ? [{ name, files }] : [];
      }),
    ]),
  );
}

/** Each test file of any of them once. */
export function unionOf(all: readonly (readonly Suite[])[]): Suite[] {
  return suites.flatMap((name) => {
    const files = new Set(
      all.flatMap((each) => each.filter((suite) => suite.name === name)).flatMap((suite) => suite.files),
    );
    return files.size === 0 ? [] : [{ name, files: [...files] }];
  });
}
