import { EventEmitter } from 'node:events';
import { describe, expect, it, vi } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { type ExitCode, exitCodeOf, type Lifecycle, runLifecycle } from '../../src/base/lifecycle.js';
import { createLogger } from '../../src/base/logger.js';
import { startProcess } from '../support/process.js';
import { until } from '../support/until.js';

class FakeHost extends EventEmitter {
  readonly exits: ExitCode[] = [];

  exit(code: ExitCode): void {
    this.exits.push(code);
  }
}

interface Started {
  readonly host: FakeHost;
  readonly messages: string[];
  readonly exitCode: Promise<ExitCode>;
}

function start(
  work: (lifecycle: Lifecycle) => Promise<void>,
  { timeoutMs = 5_000, ownsProcess = true } = {},
): Started {
  const host = new FakeHost();
  const messages: string[] = [];
  const logger = createLogger(
    { level: 'trace', format: 'json' },
    { write: (line) => messages.push((JSON.parse(line) as { msg: string }).msg) },
  );
  return { host, messages, exitCode: runLifecycle({ logger, timeoutMs, ownsProcess, host }, work) };
}

/** A promise that is fulfilled by hand. */
function openable(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}

const never = (): Promise<never> => new Promise(() => undefined);
const wrong = (): Fault => new Fault('invalid_config', 'X must be right', { kind: 'fatal' });

describe('what was started', () => {
  it('is closed in reverse order when the work is done', async () => {
    const order: string[] = [];

    const { exitCode } = start(async (lifecycle) => {
      lifecycle.onStop('http', () => void order.push('http'));
      lifecycle.onStop('mongodb', async () => void order.push('mongodb'));
      lifecycle.onStop('worker', () => void order.push('worker'));
    });

    expect(await exitCode).toBe(0);
    expect(order).toEqual(['worker', 'mongodb', 'http']);
  });

  it('is closed when the start fails half-way, and the fault becomes the exit code', async () => {
    const order: string[] = [];

    const { exitCode, messages } = start(async (lifecycle) => {
      lifecycle.onStop('http', () => void order.push('http'));
      await Promise.resolve();
      throw wrong();
    });

    expect(await exitCode).toBe(2);
    expect(order).toEqual(['http']);
    expect(messages).toContain('Ended by a fault');
  });

  it('is closed although another closer throws, and the exit code says so', async () => {
    const order: string[] = [];

    const { exitCode, messages } = start(async (lifecycle) => {
      lifecycle.onStop('http', () => void order.push('http'));
      lifecycle.onStop('sync', () => {
        throw new Error('at once');
      });
      lifecycle.onStop('async', () => Promise.reject(new Error('later')));
    });

    expect(await exitCode).toBe(1);
    expect(order).toEqual(['http']);
    expect(
      messages.filter((message) => message === 'Step failed to stop; continuing shutdown without it'),
    ).toHaveLength(2);
  });

  it('is closed in time although another closer hangs, which was told how long it may take', async () => {
    vi.useFakeTimers();
    try {
      const order: string[] = [];
      const { exitCode } = start(
        async (lifecycle) => {
          lifecycle.onStop('http', () => void order.push('http'));
          lifecycle.onStop('hangs too', never);
          lifecycle.onStop('hangs', async (withinMs) => {
            setTimeout(() => order.push('gives up'), withinMs);
            await never();
          });
        },
        { timeoutMs: 10_000 },
      );
      const startedAt = performance.now();
      await vi.advanceTimersByTimeAsync(10_000);

      expect(await exitCode).toBe(1);
      expect(order).toEqual(['gives up', 'http']);
      expect(performance.now() - startedAt).toBeLessThanOrEqual(10_000);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is told the time that those before it have left', async () => {
    vi.useFakeTimers();
    try {
      const told: number[] = [];
      const gate = openable();
      const { exitCode } = start(
        async (lifecycle) => {
          lifecycle.onStop('later', (withinMs) => void told.push(withinMs));
          lifecycle.onStop('slow', async (withinMs) => {
            told.push(withinMs);
            await gate.promise;
          });
        },
        { timeoutMs: 10_000 },
      );
      await vi.advanceTimersByTimeAsync(6_000);
      gate.resolve();

      expect(await exitCode).toBe(0);
      // Of 10 s: what is left, without the second that is kept for the one to come, and a fifth for what follows a late end.
      expect(told).toEqual([7_200, 3_200]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is closed even if it was opened by work that heeded the stop too late', async () => {
    const order: string[] = [];
    const gate = openable();
    const { exitCode, host } = start(
      async (lifecycle) => {
        await gate.promise;
        lifecycle.onStop('late', () => void order.push('late'));
      },
      { timeoutMs: 50 },
    );
    host.emit('SIGTERM');
    expect(await exitCode).toBe(1);

    gate.resolve();

    await until(() => order.includes('late'), { what: 'the late closer' });
  });
});

describe('a stop', () => {
  it.each(['SIGTERM', 'SIGINT'])(
    'begins at %s: the signal is aborted, closers run, the exit code is 0',
    async (name) => {
      const order: string[] = [];
      const { host, exitCode, messages } = start(async (lifecycle) => {
        lifecycle.onStop('http', () => void order.push('http'));
        await lifecycle.untilStop();
        order.push('stopped');
        lifecycle.signal.throwIfAborted();
      });

      host.emit(name);

      expect(await exitCode).toBe(0);
      expect(order).toEqual(['stopped', 'http']);
      expect(host.exits).toEqual([]);
      expect(messages).toEqual(['Stopping', 'Stopped']);
    },
  );

  it('lets the start end its own way first, so that what it opens meanwhile is closed', async () => {
    const order: string[] = [];
    const gate = openable();
    const { host, exitCode } = start(async (lifecycle) => {
      lifecycle.onStop('http', () => void order.push('http'));
      await gate.promise;
      lifecycle.onStop('mongodb', () => void order.push('mongodb'));
      lifecycle.signal.throwIfAborted();
    });

    host.emit('SIGTERM');
    gate.resolve();

    expect(await exitCode).toBe(0);
    expect(order).toEqual(['mongodb', 'http']);
  });

  it('becomes an end at once at the second signal', async () => {
    const { host, exitCode } = start(
      async (lifecycle) => {
        lifecycle.onStop('slow', never);
        await lifecycle.untilStop();
      },
      { timeoutMs: 200 },
    );

    host.emit('SIGTERM');
    expect(host.exits).toEqual([]);
    host.emit('SIGINT');

    expect(host.exits).toEqual([1]);
    await exitCode;
  });

  it('begins when something beside fails, with the exit code of the fault', async () => {
    const { exitCode } = start(async (lifecycle) => {
      queueMicrotask(() => lifecycle.fail(new Fault('stripe_key_refused', 'Refused', { kind: 'fatal' })));
      await lifecycle.untilStop();
      lifecycle.signal.throwIfAborted();
    });

    expect(await exitCode).toBe(1);
  });

  it('is not made a failure by the aborts that follow from it, but by a fault that does not', async () => {
    const aborted = start(async (lifecycle) => {
      await lifecycle.untilStop();
      throw new Fault('mongodb_unavailable', 'Gave up', {
        kind: 'retryable',
        cause: lifecycle.signal.reason,
      });
    });
    aborted.host.emit('SIGTERM');
    expect(await aborted.exitCode).toBe(0);
    expect(aborted.messages).not.toContain('Fault while stopping');

    const failed = start(async (lifecycle) => {
      await lifecycle.untilStop();
      throw new Error('Something else');
    });
    failed.host.emit('SIGTERM');
    expect(await failed.exitCode).toBe(1);
    expect(failed.messages).toContain('Fault while stopping');
  });

  it('gives signals back to the process when it is over', async () => {
    const { host, exitCode } = start(async () => undefined);
    await exitCode;

    expect(host.eventNames()).toEqual([]);
  });
});

describe('a process', () => {
  it.each(['uncaughtException', 'unhandledRejection'])(
    'ends at once with exit code 1 at %s, telling no message',
    (event) => {
      const { host, messages } = start(async (lifecycle) => lifecycle.untilStop());

      host.emit(event, new Error('jane@example.com'));

      expect(host.exits).toEqual([1]);
      expect(messages).toEqual(['Uncaught error; exiting now']);
      host.emit('SIGTERM');
    },
  );

  it('leaves signals alone where it does not own the process', async () => {
    const { host, exitCode } = start(async () => undefined, { ownsProcess: false });

    expect(host.eventNames()).toEqual([]);
    expect(await exitCode).toBe(0);
  });

  it('ends with 2 for a configuration and 1 for any other fault', () => {
    expect(exitCodeOf(wrong())).toBe(2);
    expect(exitCodeOf(new Fault('account_mismatch', 'Other account', { kind: 'fatal' }))).toBe(1);
    expect(exitCodeOf(new Error('anything'))).toBe(1);
  });

  it('really ends at the second signal although a closer hangs', async () => {
    const hanging = startProcess({ entry: 'test/unit/lifecycle.process.ts' });
    await hanging.waitForLine(({ text }) => text.includes('Started'));

    hanging.signal('SIGTERM');
    await hanging.waitForLine(({ text }) => text.includes('Stopping'));
    hanging.signal('SIGTERM');

    expect(await hanging.exit).toEqual({ code: 1, signal: null });
  });
});
