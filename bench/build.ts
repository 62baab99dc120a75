// Compiles the daemon and the benchmarks' own processes into a folder of its own: what is measured runs as it does in the image, without
// a compiler in its memory.
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { atEnd } from '../test/support/cleanup.js';
import { runCommand } from '../test/support/run-command.js';

const repository = fileURLToPath(new URL('..', import.meta.url));

/** What the compiled program looks for beside its folder. */
const besideDist = ['node_modules', 'config', 'package.json'];

export interface Build {
  /** Absolute path of the compiled main.js. */
  readonly daemon: string;
  /** Compiles a file of bench/ that imports packages alone; returns its absolute path. */
  script(name: string): Promise<string>;
}

/** Builds this checkout, or another one. Types are checked elsewhere. The folder is removed at the end. */
export async function build(checkout = repository): Promise<Build> {
  const folder = await mkdtemp(join(tmpdir(), 'stripe-mongo-sync-bench-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const options = ['--noCheck', '--declaration', 'false', '--outDir', join(folder, 'dist')];
  await runCommand(process.execPath, [tsc, '-p', 'tsconfig.build.json', ...options], {
    cwd: checkout,
    timeoutMs: 120_000,
  });
  for (const name of besideDist) await symlink(join(checkout, name), join(folder, name));
  return {
    daemon: join(folder, 'dist', 'main.js'),
    async script(name) {
      const source = await readFile(join(checkout, 'bench', name), 'utf8');
      const { outputText } = ts.transpileModule(source, {
        compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
      });
      await mkdir(join(folder, 'bench'), { recursive: true });
      const compiled = join(folder, 'bench', name.replace(/\.ts$/, '.js'));
      await writeFile(compiled, outputText);
      return compiled;
    },
  };
}

/** Builds a checkout of the revision, with packages of its own. It is removed at the end. */
export async function buildRevision(revision: string): Promise<Build> {
  const folder = await mkdtemp(join(tmpdir(), 'stripe-mongo-sync-revision-'));
  atEnd(async () => {
    await rm(folder, { recursive: true, force: true });
    await runCommand('git', ['worktree', 'prune'], { timeoutMs: 30_000 });
  });
  await runCommand('git', ['worktree', 'add', '--detach', '--force', folder, revision], {
    timeoutMs: 60_000,
  });
  await runCommand('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: folder,
    timeoutMs: 300_000,
  });
  return build(folder);
}
