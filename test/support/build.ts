// Compiles the daemon once for a whole run, as compiling it anew in each process (tsx) takes longer than starting it.
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';
import { runCommand } from './run-command.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Absolute path of the compiled main.js. */
    builtEntry: string;
  }
}

const repository = fileURLToPath(new URL('../../', import.meta.url));

/** What the compiled program looks for beside its folder. */
const besideDist = ['node_modules', 'config', 'package.json'];

/** Types are checked elsewhere. Returns what removes the build again. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'stripe-mongo-sync-'));
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const options = ['--noCheck', '--declaration', 'false', '--outDir', join(folder, 'dist')];
  await runCommand(process.execPath, [tsc, '-p', 'tsconfig.build.json', ...options], {
    cwd: repository,
    timeoutMs: 120_000,
  });
  for (const name of besideDist) await symlink(join(repository, name), join(folder, name));
  project.provide('builtEntry', join(folder, 'dist', 'main.js'));
  return () => rm(folder, { recursive: true, force: true });
}
