// The planted faults: one patch file each, named after its law, such as M6-a.patch.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = new URL('patches/', import.meta.url);

export interface PlantedFault {
  /** Such as M6-a. */
  readonly name: string;
  /** Such as M6. */
  readonly law: string;
  /** What the product does wrong with it, in words. */
  readonly fault: string;
  /** The patch file. */
  readonly path: string;
  /** The files that it changes. */
  readonly changes: readonly string[];
}

/** All of them, in the order of laws. @throws Error where a file does not follow proof/README.md */
export function readPatches(): PlantedFault[] {
  const names = readdirSync(folder).filter((file) => file.endsWith('.patch'));
  return names.map(readPatch).sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

function readPatch(file: string): PlantedFault {
  const text = readFileSync(new URL(file, folder), 'utf8');
  const [, law = ''] = /^([A-Z]\d+)-[a-z]+\.patch$/.exec(file) ?? [];
  const [header = ''] = text.split(/^(?:diff |--- )/m);
  const [, named] = /^Law: (\S+)$/m.exec(header) ?? [];
  const [, fault = ''] = /^Fault: ([^]+)/m.exec(header) ?? [];
  const changes = [...text.matchAll(/^(?:---|\+\+\+) (?:[ab]\/)?(\S+)/gm)].map(([, path = '']) => path);
  if (law === '') throw new Error(`${file}: name it after its law, such as M6-a.patch`);
  if (named !== law) throw new Error(`${file}: its header must say \`Law: ${law}\``);
  if (fault.trim() === '') throw new Error(`${file}: its header must say \`Fault: …\` in words`);
  if (changes.length === 0) throw new Error(`${file}: it changes nothing`);
  const others = changes.filter((path) => !path.startsWith('src/'));
  if (others.length > 0) throw new Error(`${file}: it may change only src, not ${others.join(', ')}`);
  return {
    name: file.slice(0, -'.patch'.length),
    law,
    fault: fault.trim().replaceAll(/\s+/g, ' '),
    path: fileURLToPath(new URL(file, folder)),
    changes: [...new Set(changes)],
  };
}

/** Those that the names choose, each a law or a patch; all without names. @throws Error for a name of none */
export function choose(patches: readonly PlantedFault[], names: readonly string[]): PlantedFault[] {
  const unknown = names.filter((name) => !patches.some((patch) => patch.name === name || patch.law === name));
  if (unknown.length > 0) throw new Error(`No planted fault is named ${unknown.join(', ')}`);
  return patches.filter(({ name, law }) => names.length === 0 || names.includes(name) || names.includes(law));
}
