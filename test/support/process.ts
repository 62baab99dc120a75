// Runs the real daemon or one of its commands as a process of its own, reads what it logs, and sends it signals.
// Ends only what it has started, and all of it when the test ends, or when this process does.
import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { isAbsolute } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { atEnd } from './cleanup.js';
import { freeze, thaw } from './freeze.js';

const repository = new URL('../../', import.meta.url);

/** Outside of our process group it would live on when we are killed. */
const lifeline = ['--import', new URL('fixtures/end-with-parent.mjs', import.meta.url).href];

export interface ProcessOptions {
  /** The command line, such as `['run']`. */
  args?: string[];
  /** The whole environment besides PATH, HOME and TMPDIR; nothing of the developer's own settings gets in. */
  env?: Record<string, string>;
  /** The working folder; the repository by default. */
  cwd?: string;
  /** Options of Node itself, such as `--max-old-space-size=96`. */
  nodeArgs?: string[];
  /** What it reads on standard input; nothing by default. */
  input?: string;
  /** A file descriptor that gets its standard output, of which there are no lines then: who is measured beside it does not have to read. */
  stdout?: number;
  /** A module to run instead of the daemon's: a path inside the repository, such as `simulator/src/main.ts`, or an absolute one of what is compiled. */
  entry?: string;
}

export interface Line {
  stream: 'stdout' | 'stderr';
  text: string;
  /** The line's fields, where it is a JSON object. */
  json?: Record<string, unknown>;
}

interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface RunningProcess {
  pid: number;
  /** Everything it has written so far, in order of arrival. */
  lines: readonly Line[];
  /** The first line, past or to come, that fits. Throws after `timeoutMs` (15,000), or when it ends without one. */
  waitForLine: (predicate: (line: Line) => boolean, options?: WaitOptions) => Promise<Line>;
  signal: (name: NodeJS.Signals) => void;
  /** Stops it where it stands; returns once it does. */
  freeze: () => Promise<void>;
  thaw: () => void;
  /** How it ended, once all its output is read. */
  exit: Promise<Exit>;
  /** SIGTERM, and SIGKILL if it is still there after `timeoutMs` (30,000). */
  stop: (timeoutMs?: number) => Promise<Exit>;
}

interface WaitOptions {
  /** What is awaited, for the message. */
  what?: string;
  timeoutMs?: number;
}

/**
 * Starts `src/main.ts` through tsx, or what is compiled: `dist/main.js` when TEST_ENTRY is `dist`, or the file that TEST_ENTRY
 * names by its absolute path. Returns at once: wait for a line or a port. It ends with the test by SIGKILL, unless `stop()` has ended it before.
 */
export function startProcess(options: ProcessOptions = {}): RunningProcess {
  const { args = [], env = {}, cwd, nodeArgs = [], input, entry, stdout = 'pipe' } = options;
  const child = spawn(process.execPath, [...lifeline, ...nodeArgs, ...entryArgs(entry), ...args], {
    cwd: cwd ?? fileURLToPath(repository),
    env: { ...inherited(), ...env },
    stdio: [input === undefined ? 'ignore' : 'pipe', stdout, 'pipe', 'pipe'],
    // A process group of its own: Ctrl-C is for us alone, and we end it in our order.
    detached: true,
  });
  child.stdin?.end(input);
  const exit = exitOf(child);
  endWithUs(child, exit);

  const log = new LineLog(child, exit);
  const { pid } = child;
  if (pid === undefined) {
    throw new Error(`${process.execPath} cannot be started`);
  }

  const signal = (name: NodeJS.Signals): void => void child.kill(name);
  const stop = async (timeoutMs = 30_000): Promise<Exit> => {
    signal('SIGTERM');
    const force = setTimeout(() => signal('SIGKILL'), timeoutMs);
    try {
      return await exit;
    } finally {
      clearTimeout(force);
    }
  };
  return {
    pid,
    lines: log.lines,
    waitForLine: log.waitFor.bind(log),
    signal,
    freeze: () => freeze(pid),
    thaw: () => thaw(pid),
    exit,
    stop,
  };
}

/** A TCP port of 127.0.0.1 that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        if (address === null || typeof address === 'string') {
          reject(new Error('A TCP server has no port'));
        } else {
          resolve(address.port);
        }
      });
    });
  });
}

function entryArgs(entry: string | undefined): string[] {
  if (entry !== undefined && isAbsolute(entry)) return [entry];
  const compiled = process.env['TEST_ENTRY'];
  if (entry === undefined && compiled === 'dist') return [fileURLToPath(new URL('dist/main.js', repository))];
  if (entry === undefined && compiled !== undefined && isAbsolute(compiled)) return [compiled];
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  return ['--import', tsx, fileURLToPath(new URL(entry ?? 'src/main.ts', repository))];
}

function inherited(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR'];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}

/** Killed when we end. */
const living = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

function endWithUs(child: ChildProcess, exit: Promise<Exit>): void {
  living.add(child);
  const forget = (): void => void living.delete(child);
  exit.then(forget, forget);
  atEnd(async () => {
    child.kill('SIGKILL');
    await exit;
  });
}

/** Collects the output of a process line by line and lets others wait for a line. */
class LineLog {
  readonly lines: Line[] = [];
  readonly #exit: Promise<Exit>;
  readonly #watchers = new Set<(line: Line) => void>();

  constructor(child: ChildProcess, exit: Promise<Exit>) {
    this.#exit = exit;
    for (const stream of ['stdout', 'stderr'] as const) {
      const input = child[stream];
      if (input) {
        createInterface({ input }).on('line', (text) => this.#add(stream, text));
      }
    }
  }

  async waitFor(predicate: (line: Line) => boolean, options: WaitOptions = {}): Promise<Line> {
    const { what = 'a line', timeoutMs = 15_000 } = options;
    const early = this.lines.find(predicate);
    if (early) {
      return early;
    }

    let watcher: ((line: Line) => void) | undefined;
    let timer: NodeJS.Timeout | undefined;
    const found = new Promise<Line>((resolve, reject) => {
      watcher = (line) => {
        if (predicate(line)) {
          resolve(line);
        }
      };
      this.#watchers.add(watcher);
      timer = setTimeout(() => reject(new Error(`no ${what} within ${timeoutMs} ms`)), timeoutMs);
    });
    const ended = this.#exit.then(({ code, signal }) => {
      throw new Error(`ended with ${code ?? signal ?? 'nothing'} before ${what}`);
    });

    try {
      return await Promise.race([found, ended]);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new Error(`The process ${message}; it said:\n${this.#tail()}`, { cause: error });
    } finally {
      clearTimeout(timer);
      if (watcher) {
        this.#watchers.delete(watcher);
      }
    }
  }

  #add(stream: Line['stream'], text: string): void {
    const json = parseObject(text);
    const line: Line = { stream, text, ...(json ? { json } : {}) };
    this.lines.push(line);
    for (const watcher of this.#watchers) {
      watcher(line);
    }
  }

  #tail(): string {
    return this.lines
      .slice(-20)
      .map((line) => line.text)
      .join('\n');
  }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  if (!text.startsWith('{')) {
    return undefined;
  }
  try {
    return JSON.parse(text) as Record<string, unknown>; // an object, as it starts with a brace
  } catch {
    return undefined;
  }
}
