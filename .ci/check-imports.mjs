// Runs dependency-cruiser over all TypeScript. It fails on a broken rule, and also when a file was not looked at:
// with a compiler that it does not support, dependency-cruiser sees no module at all and reports success.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cruise, format } from 'dependency-cruiser';
import extractOptions from 'dependency-cruiser/config-utl/extract-depcruise-options';
import extractTSConfig from 'dependency-cruiser/config-utl/extract-ts-config';

const folders = ['src', 'test', 'demo', 'bench', 'docs'].filter((folder) => existsSync(folder));
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
if (process.exitCode !== 1) {
  console.log(`${files.length} files, ${edges} imports, no broken rule`);
}
