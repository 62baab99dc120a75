// A copy of the checkout, in which faults are planted one at a time. The checkout itself is never changed.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './commands.js';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const timeoutMs = 60_000;

/** Git sees no repository around the copy: it would leave out what is not in it. */
const gitEnv = { ...process.env, GIT_CEILING_DIRECTORIES: tmpdir() };

export interface Copy {
  readonly folder: string;
  /** @throws Error that says why the patch does not apply */
  apply: (patch: string) => Promise<void>;
  revert: (patch: string) => Promise<void>;
  remove: () => void;
}

/** Copies what git knows, and new files that it does not ignore, as they are now. */
export async function copyCheckout(): Promise<Copy> {
  const listed = await run('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: checkout,
    timeoutMs,
  });
  if (listed.code !== 0) throw new Error(`git ls-files: ${listed.output.trim()}`);
  const folder = mkdtempSync(join(tmpdir(), 'planted-'));
  for (const path of new Set(listed.output.split('\0'))) {
    if (path === '' || !existsSync(join(checkout, path))) continue;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    cpSync(join(checkout, path), join(folder, path));
  }
  linkPackages(join(folder, 'node_modules'));
  const apply = async (patch: string, ...options: string[]): Promise<void> => {
    const { code, output } = await run('git', ['apply', ...options, patch], {
      cwd: folder,
      timeoutMs,
      env: gitEnv,
    });
    if (code !== 0) throw new Error(output.trim().replaceAll('\n', '; '));
  };
  return {
    folder,
    apply: (patch) => apply(patch),
    revert: (patch) => apply(patch, '--reverse'),
    remove: () => {
      // What was just killed may still write.
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}

/** Each package by a link; the simulator, a workspace, is the copy's own. */
function linkPackages(packages: string): void {
  mkdirSync(packages);
  for (const name of readdirSync(join(checkout, 'node_modules'))) {
    if (name.startsWith('.') && name !== '.bin') continue;
    const target = name === 'stripe-simulator' ? '../simulator' : join(checkout, 'node_modules', name);
    symlinkSync(target, join(packages, name));
  }
}
