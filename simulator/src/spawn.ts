// The simulator in a process of its own, so that what is measured does not share its event loop.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { ControlClient } from './remote.js';
import type { RemoteSimulator, SpawnOptions } from './types.js';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 5_000;
// `--import tsx` is looked up from the working folder.
const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

/** The line that main.ts prints when it listens. */
const greetingSchema = z.object({
  url: z.string(),
  port: z.int(),
  key: z.string(),
  restrictedKey: z.string(),
});

/**
 * Starts main.ts with the options. Rejects with what the process wrote when it does not come up within a minute.
 * The process ends with `close()`, and by itself when this process goes away.
 */
export async function spawnSimulator(options: SpawnOptions = {}): Promise<RemoteSimulator> {
  const args = ['--import', 'tsx', MAIN, '--options', JSON.stringify(options)];
  const env = { ...process.env, NODE_OPTIONS: '' };
  const child = spawn(process.execPath, args, { cwd: PROJECT, env, stdio: ['pipe', 'pipe', 'pipe'] });
  try {
    const greeting = greetingSchema.parse(JSON.parse(await firstLine(child)));
    return remoteSimulator(child, greeting);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

function remoteSimulator(child: ChildProcess, greeting: z.output<typeof greetingSchema>): RemoteSimulator {
  const control = new ControlClient(greeting.url);
  const close = (): Promise<void> => stop(child);
  return {
    ...greeting,
    ...control.mode({}),
    host: '127.0.0.1',
    pid: child.pid ?? 0,
    mode: (target) => control.mode(target),
    keys: (accountId) => control.call('keys', accountId === undefined ? {} : { accountId }),
    addKey: (key, options) => control.call('add-key', options === undefined ? { key } : { key, options }),
    expireKey: (key) => control.call('expire-key', { key }),
    revokeKey: (key) => control.call('revoke-key', { key }),
    setLatency: (latency) => control.call('latency', latency === undefined ? {} : { latency }),
    setLimits: (limits) => control.call('limits', limits === undefined ? {} : { limits }),
    setLogSize: (size) => control.call('log-size', { size }),
    setClockOffset: (offsetMs) => control.call('clock', { offsetMs }),
    fault: (order) => control.fault(order),
    clearFaults: () => control.call('clear-faults', {}),
    stats: () => control.call('stats', {}),
    requests: async () => [...(await control.call('requests', {}))],
    reset: () => control.call('reset', {}),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function firstLine(child: ChildProcess): Promise<string> {
  let written = '';
  let complaints = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-10_000);
  });
  return new Promise((resolve, reject) => {
    const fail = (why: string): void =>
      reject(new Error(`The simulator process ${why}${complaints === '' ? '' : `: ${complaints}`}`));
    const timer = setTimeout(() => fail(`did not start within ${START_TIMEOUT_MS} ms`), START_TIMEOUT_MS);
    child.once('error', (error) => fail(`could not be started (${error.message})`));
    child.once('close', (code) => {
      clearTimeout(timer);
      fail(`ended with code ${code ?? 'none'}`);
    });
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      written += text;
      const end = written.indexOf('\n');
      if (end < 0) return;
      clearTimeout(timer);
      resolve(written.slice(0, end));
    });
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'close');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await gone;
  clearTimeout(timer);
}
