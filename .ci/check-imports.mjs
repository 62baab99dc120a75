// Runs dependency-cruiser over all TypeScript. It fails on a broken rule, and also when a file was not looked at:
// with a compiler that it does not support, dependency-cruiser sees no module at all and reports success.
// It fails as well on what docs/folders.yaml allows and nobody uses, so that the table says what is, not what may once have been.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cruise, format } from 'dependency-cruiser';
import extractOptions from 'dependency-cruiser/config-utl/extract-depcruise-options';
import extractTSConfig from 'dependency-cruiser/config-utl/extract-ts-config';
import { parse } from 'yaml';

const folders = ['src', 'simulator', 'test', 'demo', 'bench', 'proof', 'docs'].filter((folder) =>
  existsSync(folder),
);
const files = folders.flatMap((folder) =>
  readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((name) => name.endsWith('.ts')),
);

const { output: result } = await cruise(
  folders,
  await extractOptions('./.dependency-cruiser.cjs'),
  {},
  { tsConfig: extractTSConfig('tsconfig.json') },
);
const { output: report, exitCode } = await format(result, { outputType: 'err' });

const seen = new Map(result.modules.map((module) => [module.source, module.dependencies.length]));
const missed = files.filter((name) => !seen.has(name));
const edges = files.reduce((sum, name) => sum + (seen.get(name) ?? 0), 0);

if (exitCode !== 0) {
  console.error(report);
  process.exitCode = 1;
}
if (!files.some((name) => name.startsWith('src/')) || missed.length > 0 || edges < files.length / 2) {
  console.error(
    `dependency-cruiser is blind: of ${files.length} files ${missed.length} were not seen, with ${edges} imports in all`,
  );
  process.exitCode = 1;
}
const unused = unusedOf(parse(readFileSync('docs/folders.yaml', 'utf8')), result.modules);
if (unused.length > 0) {
  console.error(`docs/folders.yaml lists what nobody uses:\n${unused.map((each) => `  ${each}`).join('\n')}`);
  process.exitCode = 1;
}
if (process.exitCode !== 1) {
  console.log(`${files.length} files, ${edges} imports, no broken rule`);
}

/** What the table of folders allows and no import needs. */
function unusedOf(folders, modules) {
  const imported = new Set();
  const doors = new Set();
  const packages = new Set();
  for (const { source, dependencies } of modules) {
    const from = folderOf(source);
    for (const { resolved } of dependencies) {
      const to = folderOf(resolved);
      const name = /node_modules\/(?:@types\/)?([^/]+)/.exec(resolved)?.[1];
      if (from !== undefined && name !== undefined) packages.add(`${from} ${name}`);
      if (to === undefined || from === to) continue;
      imported.add(`${from} ${to}`);
      doors.add(resolved);
    }
  }
  const earlier = new Set();
  return folders.flatMap((entry) => {
    const { folder, imports } = entry;
    const path = folder === 'root' ? 'src' : `src/${folder}`;
    const later = imports.filter((name) => !earlier.has(name) && !(folder === 'cli' && name === 'root'));
    earlier.add(folder);
    return [
      ...later.map((name) => `${folder} imports ${name}, which is no layer above it`),
      ...imports
        .filter((name) => !imported.has(`${folder} ${name}`))
        .map((name) => `${folder} imports ${name}`),
      ...entry.packages
        .filter((name) => !packages.has(`${folder} ${name}`))
        .map((name) => `${folder} uses ${name}`),
      ...entry.doors
        .map((door) => `${path}/${door}.ts`)
        .filter((door) => !doors.has(door) && door !== 'src/main.ts')
        .map((door) => `door ${door}`),
    ];
  });
}

function folderOf(path) {
  const [, folder] = /^src\/(?:([^/]+)\/)?/.exec(path) ?? [];
  return path.startsWith('src/') ? (folder ?? 'root') : undefined;
}
