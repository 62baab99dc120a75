// This process's side of the limiter: who goes first, who has a place, and what happens without slots.
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { RateLimitReason } from '../../src/stripe/observer.js';
import { RateLimiter, type RateLimiterOptions } from '../../src/stripe/rate-limiter.js';
import type { SlotStore } from '../../src/stripe/slot-store.js';
import type { CallPriority } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { memorySlots, mostPerSecond } from '../support/slot-model.js';
import { freeSlots, localClock, recordingLogger, recordingObserver } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

const list = 'GET /v1/customers';
const retrieve = 'GET /v1/customers/{id}';
const unlimited = { callsPerSecond: 0, callsPerSecondPerEndpoint: 0, maxInFlight: 4 };

let lines: string[];

function limiter(options: Partial<RateLimiterOptions> = {}): RateLimiter {
  const recording = recordingLogger();
  ({ lines } = recording);
  const made = new RateLimiter({
    limits: unlimited,
    slots: freeSlots,
    clock: localClock,
    observer: recordingObserver(),
    logger: recording.logger,
    random: Math.random,
    ...options,
  });
  atEnd(() => made.close());
  return made;
}

const turn = (
  priority: CallPriority,
  options: { endpoint?: string; signal?: AbortSignal; waitMs?: number } = {},
) => ({
  endpoint: options.endpoint ?? list,
  priority,
  signal: options.signal ?? new AbortController().signal,
  deadlineAt: performance.now() + (options.waitMs ?? 20_000),
});

/** Tasks that run until they are told to end. */
function openTasks() {
  const running: (() => void)[] = [];
  let isEnding = false;
  const task = () => new Promise<void>((resolve) => (isEnding ? resolve() : void running.push(resolve)));
  const endAll = () => {
    isEnding = true;
    for (const end of running) end();
  };
  return { running, task, endAll };
}

describe('places in flight', () => {
  test('are never more than the setting', async () => {
    const made = limiter();
    let atWork = 0;
    let most = 0;
    const task = async () => {
      most = Math.max(most, (atWork += 1));
      await new Promise(setImmediate);
      atWork -= 1;
    };

    await Promise.all(
      Array.from({ length: 40 }, (_, index) => made.schedule(turn(index % 3 ? 'scan' : 'small'), task)),
    );

    expect(most).toBe(4);
  });

  test('are few until the first call of the process has ended', async () => {
    const made = limiter();
    const tasks = openTasks();

    const all = Array.from({ length: 6 }, () => made.schedule(turn('small'), tasks.task));
    await until(() => tasks.running.length > 0, { what: 'the first call', intervalMs: 1 });
    await new Promise(setImmediate);

    expect(tasks.running).toHaveLength(1);
    // It does not hold the others up for long, whatever becomes of it.
    await until(() => tasks.running.length === 4, { what: 'the others', timeoutMs: 3_000 });
    tasks.endAll();
    await Promise.all(all);
  });

  test.each([
    { maxInFlight: 2, scansAtOnce: 1 },
    { maxInFlight: 4, scansAtOnce: 3 },
    { maxInFlight: 8, scansAtOnce: 6 },
    { maxInFlight: 20, scansAtOnce: 17 },
  ])(
    'are left by scans for small calls, a quarter of them and at most three: of $maxInFlight scans take $scansAtOnce',
    async ({ maxInFlight, scansAtOnce }) => {
      const made = limiter({ limits: { ...unlimited, maxInFlight } });
      const [scans, smalls] = [openTasks(), openTasks()];
      const all = Array.from({ length: 30 }, () => made.schedule(turn('scan'), scans.task));
      await until(() => scans.running.length === scansAtOnce, { what: 'the scans to start' });

      all.push(...Array.from({ length: 30 }, () => made.schedule(turn('small'), smalls.task)));
      await until(() => smalls.running.length === maxInFlight - scansAtOnce, { what: 'the small calls' });

      expect(scans.running).toHaveLength(scansAtOnce);
      smalls.endAll();
      scans.endAll();
      await Promise.all(all);
    },
  );

  test('go to small calls first, in the order in which they came', async () => {
    const made = limiter({ limits: { ...unlimited, maxInFlight: 1 } });
    const first = openTasks();
    const order: string[] = [];
    const waiting = [made.schedule(turn('scan'), first.task)];
    await until(() => first.running.length === 1, { what: 'the first call' });
    for (const name of ['scan 1', 'small 1', 'scan 2', 'small 2']) {
      const priority = name.startsWith('scan') ? 'scan' : 'small';
      waiting.push(made.schedule(turn(priority), async () => void order.push(name)));
    }

    first.endAll();
    await Promise.all(waiting);

    expect(order).toEqual(['small 1', 'small 2', 'scan 1', 'scan 2']);
  });

  test('are given back by calls that fail or are aborted', async () => {
    let aheadMs = 60_000;
    const made = limiter({
      limits: { ...unlimited, callsPerSecond: 50, maxInFlight: 2 },
      slots: { ...freeSlots, take: async (wants) => slotsDue(wants, aheadMs) },
    });
    const aborting = new AbortController();
    const aborted = [1, 2].map(() => made.schedule(turn('small', aborting), async () => {}));
    await new Promise(setImmediate);
    aborting.abort(new Error('enough'));
    await Promise.allSettled(aborted);
    aheadMs = 20;
    await made.schedule(turn('small'), () => Promise.reject(new Error('failed'))).catch(() => {});

    await Promise.all([1, 2].map(() => made.schedule(turn('small'), async () => {})));

    for (const result of await Promise.allSettled(aborted))
      expect(result).toMatchObject({ status: 'rejected' });
  });
});

/** Slots that are granted and due so far ahead. */
function slotsDue(wants: readonly string[], aheadMs: number) {
  const now = Date.now();
  return {
    now,
    callsPerSecond: 50,
    slots: wants.map(() => ({ kind: 'granted', at: now + aheadMs }) as const),
  };
}

describe('slots', () => {
  test('let nobody go before their time', async () => {
    const slots = memorySlots();
    const made = limiter({
      slots,
      limits: { callsPerSecond: 100, callsPerSecondPerEndpoint: 0, maxInFlight: 30 },
    });
    const goneAt: number[] = [];

    await Promise.all(
      Array.from({ length: 60 }, () => made.schedule(turn('scan'), async () => void goneAt.push(Date.now()))),
    );

    const dueAt = slots.granted.map(({ at }) => at).sort((a, b) => a - b);
    goneAt.forEach((time, index) => expect(time).toBeGreaterThanOrEqual(Math.floor(dueAt[index]!) - 1));
    expect(mostPerSecond(dueAt)).toBeLessThanOrEqual(100);
  });

  test('that passed while the process was busy are not used, once: late calls would go all at once', async () => {
    let asks = 0;
    const take: SlotStore['take'] = async (wants) => {
      asks += 1;
      return slotsDue(wants, 20);
    };
    const made = limiter({ slots: { ...freeSlots, take }, limits: { ...unlimited, callsPerSecond: 50 } });

    await made.schedule(turn('small'), async () => {});
    const call = made.schedule(turn('small'), async () => performance.now());
    await until(() => asks === 2, { what: 'the slot', intervalMs: 1 });
    const busyUntil = performance.now() + 150;
    while (performance.now() < busyUntil); // nothing else runs meanwhile

    expect(await call).toBeGreaterThan(busyUntil);
    expect(asks).toBe(3);
  });

  test('in an answer that comes late are used when they are due', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
    atEnd(() => void vi.useRealTimers());
    let answer = (): void => {};
    let asks = 0;
    const take: SlotStore['take'] = async (wants) => {
      asks += 1;
      const slots = slotsDue(wants, 90);
      await new Promise<void>((resolve) => (answer = resolve));
      return slots;
    };
    const made = limiter({ slots: { ...freeSlots, take }, limits: { ...unlimited, callsPerSecond: 50 } });
    const call = async (answerAfterMs: number): Promise<number> => {
      const from = performance.now();
      const gone = made.schedule(turn('small'), async () => performance.now() - from);
      await vi.advanceTimersByTimeAsync(answerAfterMs);
      answer();
      await vi.advanceTimersByTimeAsync(500);
      return gone;
    };

    await call(1);
    const goneAfter = await call(70);

    expect(goneAfter).toBeGreaterThanOrEqual(90);
    expect(goneAfter).toBeLessThanOrEqual(92);
    expect(asks).toBe(2);
  });

  test('are taken by small calls before scans that waited longer', async () => {
    const made = limiter({
      slots: memorySlots(),
      limits: { callsPerSecond: 25, callsPerSecondPerEndpoint: 0, maxInFlight: 30 },
    });
    const order: string[] = [];
    const scans = Array.from({ length: 20 }, () =>
      made.schedule(turn('scan'), async () => void order.push('scan')),
    );
    await until(() => order.length >= 4, { what: 'some scans', intervalMs: 5 });

    const before = order.length;
    await made.schedule(turn('small', { endpoint: retrieve }), async () => void order.push('small'));

    // What was granted before the small call came, within 100 ms, may go before it.
    expect(order.indexOf('small') - before).toBeLessThanOrEqual(4);
    await Promise.all(scans);
  });

  test('are only asked for by calls that have a place', async () => {
    const asked: number[] = [];
    const slots: SlotStore = {
      ...freeSlots,
      take: (wants, rates, reads) => {
        asked.push(wants.length);
        return freeSlots.take(wants, rates, reads);
      },
    };
    const made = limiter({
      slots,
      limits: { callsPerSecond: 1_000, callsPerSecondPerEndpoint: 0, maxInFlight: 5 },
    });
    const scans = openTasks();

    const all = Array.from({ length: 20 }, () => made.schedule(turn('scan'), scans.task));
    await until(() => scans.running.length === 3, { what: 'the scans to start' });

    expect(asked.reduce((sum, wants) => sum + wants, 0)).toBe(3);
    scans.endAll();
    await Promise.all(all);
  });

  test('are not asked for without a limit; the clock alone dates the calls', async () => {
    const take = () => Promise.reject(new Error('not to be asked'));
    const made = limiter({ slots: { ...freeSlots, take } });
    const before = Date.now();

    const reading = await made.schedule(turn('small'), async (given) => given);

    expect(reading.earliest).toBeGreaterThanOrEqual(before);
    expect(made.callsPerSecond).toBeUndefined();
  });

  test('that cannot be had while MongoDB is away are waited for, and that is said once', async () => {
    let isAway = true;
    let asks = 0;
    const take: SlotStore['take'] = (wants, rates, reads) => {
      asks += 1;
      return isAway ? Promise.reject(new Error('connection lost')) : freeSlots.take(wants, rates, reads);
    };
    const made = limiter({ slots: { ...freeSlots, take }, limits: { ...unlimited, callsPerSecond: 10 } });

    const call = made.schedule(turn('small'), async () => 'answered');
    await until(() => asks >= 3, { what: 'some asks' });
    expect(asks).toBeLessThan(6);
    isAway = false;

    expect(await call).toBe('answered');
    expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      'Calls to Stripe wait: MongoDB does not answer',
      'Calls to Stripe go on: MongoDB answers again',
    ]);
  });

  test.each<[string, SlotStore['take'], string]>([
    ['MongoDB is away', () => Promise.reject(new Error('connection lost')), 'mongodb_unavailable'],
    ['MongoDB does not answer', () => new Promise(() => {}), 'mongodb_unavailable'],
    ['others take them all', async (wants) => laterSlots(wants), 'stripe_rate_limited'],
  ])('that %s for end the wait at its deadline', async (_why, take, code) => {
    const made = limiter({ slots: { ...freeSlots, take }, limits: { ...unlimited, callsPerSecond: 10 } });

    await expect(made.schedule(turn('small', { waitMs: 1_100 }), async () => {})).rejects.toMatchObject({
      code,
      kind: 'retryable',
    });
  });

  test('are waited for no longer once it is closed', async () => {
    const made = limiter({
      slots: { ...freeSlots, take: () => new Promise(() => {}) },
      limits: { ...unlimited, callsPerSecond: 1 },
    });
    const call = made.schedule(turn('small'), async () => {});

    await Promise.all([
      expect(call).rejects.toMatchObject({ code: 'shutdown', kind: 'retryable' }),
      made.close(),
    ]);
    await expect(made.schedule(turn('small'), async () => {})).rejects.toMatchObject({ code: 'shutdown' });
  });
});

function laterSlots(wants: readonly string[]) {
  const now = Date.now();
  return {
    now,
    callsPerSecond: 10,
    slots: wants.map(() => ({ kind: 'later', at: now + 150, askAt: now + 50 }) as const),
  };
}

describe('an allowance of calls a month that is used up', () => {
  const allowance = 10;
  let calls = allowance;
  const endsInMs = 500_000;
  /** As MongoDB answers: nothing for scans once it is used up. */
  const take: SlotStore['take'] = async (wants, _, reads) => {
    const now = Date.now();
    return {
      now,
      callsPerSecond: 0,
      month: { calls, endsAt: now + endsInMs },
      slots: wants.map((_want, index) =>
        calls >= reads.allowance && index >= reads.scansFrom
          ? { kind: 'later', at: now, askAt: now }
          : { kind: 'granted', at: now },
      ),
    };
  };

  beforeEach(() => {
    calls = allowance;
  });

  test('refuses scans, with the time until the month ends, and lets small calls go', async () => {
    const made = limiter({ slots: { ...freeSlots, take }, monthlyReadAllowance: allowance });

    const scans = [1, 2, 3].map(() => made.schedule(turn('scan'), async () => 'went'));
    const small = await made.schedule(turn('small'), async () => 'went');

    expect(small).toBe('went');
    for (const scan of scans) {
      const fault: unknown = await scan.catch((error: unknown) => error);
      expect(fault).toMatchObject({ code: 'read_allowance_used', kind: 'retryable' });
      const { retryAfterMs } = fault as { retryAfterMs: number };
      expect(retryAfterMs).toBeGreaterThan(endsInMs - 1_000);
      expect(retryAfterMs).toBeLessThanOrEqual(endsInMs + 1_000);
    }
  });

  test('is asked for again by the next scan, as it may have been raised elsewhere', async () => {
    const made = limiter({ slots: { ...freeSlots, take }, monthlyReadAllowance: allowance });
    await expect(made.schedule(turn('scan'), async () => {})).rejects.toMatchObject({
      code: 'read_allowance_used',
    });

    calls = 0;

    expect(await made.schedule(turn('scan'), async () => 'went')).toBe('went');
  });

  test.each([
    ['nearly_used', "80 % of the month's calls to Stripe are used"],
    ['used_up', "The month's calls to Stripe are used up, scans are held"],
  ] as const)('is told in one line: %s', async (news, message) => {
    const made = limiter({
      slots: {
        ...freeSlots,
        take: async (wants) => ({ ...slotsDue(wants, 0), month: { calls, endsAt: Date.now(), news } }),
      },
      monthlyReadAllowance: allowance,
    });

    await made.schedule(turn('small'), async () => {});

    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { level: 40, msg: message, callsThisMonth: 10, monthlyReadAllowance: 10 },
    ]);
  });

  test('is nothing to ask for where there is none: calls are counted together, at the latest at the end', async () => {
    const counted: number[] = [];
    const made = limiter({
      slots: {
        ...freeSlots,
        take: () => Promise.reject(new Error('not to be asked')),
        count: async (count) => void counted.push(count),
      },
    });

    await Promise.all(Array.from({ length: 30 }, () => made.schedule(turn('scan'), async () => {})));
    await made.close();

    expect(counted.reduce((sum, count) => sum + count, 0)).toBe(30);
    expect(counted.length).toBeLessThan(5);
  });
});

describe('a refusal by Stripe', () => {
  const slowed: unknown[] = [];
  const slots: SlotStore = { ...freeSlots, slowDown: async (slowdown) => void slowed.push(slowdown) };
  const limits = { callsPerSecond: 1_000, callsPerSecondPerEndpoint: 0, maxInFlight: 8 };

  beforeEach(() => {
    slowed.length = 0;
  });

  test.each<[RateLimitReason, number, unknown[]]>([
    ['global-rate', 0, [{ cut: true, blockMs: 0 }]],
    ['global-rate', 2_000, [{ cut: true, blockMs: 2_000 }]],
    ['endpoint-rate', 0, [{ endpoint: list, cut: true, blockMs: 0 }]],
    ['unknown', 0, [{ endpoint: list, cut: true, blockMs: 0 }]],
    ['global-concurrency', 0, [{ cut: false, fewerInFlight: true, blockMs: 0 }]],
    ['global-concurrency', 2_000, [{ cut: false, fewerInFlight: true, blockMs: 2_000 }]],
    ['endpoint-concurrency', 2_000, [{ endpoint: list, cut: false, fewerInFlight: true, blockMs: 2_000 }]],
    ['resource-specific', 2_000, []],
    ['lock-timeout', 2_000, []],
  ])('for %s with Retry-After of %i ms slows down what it names', async (reason, retryAfterMs, expected) => {
    const made = limiter({ slots, limits });

    made.refused(list, reason, retryAfterMs);
    await made.close();

    expect(slowed).toEqual(expected);
  });

  test('for concurrency halves the places of this process, not below one', async () => {
    const made = limiter({ slots, limits });
    const small = openTasks();
    made.refused(list, 'endpoint-concurrency');
    made.refused(list, 'endpoint-concurrency');

    const all = Array.from({ length: 10 }, () => made.schedule(turn('small'), small.task));
    await until(() => small.running.length === 4, { what: 'half of the places to fill' });
    await new Promise(setImmediate);

    expect(small.running).toHaveLength(4);
    small.endAll();
    await Promise.all(all);
  });

  test('for concurrency that another replica met lowers the places of this process too', async () => {
    const made = limiter({
      slots: { ...slots, take: async (wants) => ({ ...slotsDue(wants, 0), inFlightShare: 0.5 }) },
      limits,
    });
    const small = openTasks();

    await made.schedule(turn('small'), async () => {});
    const all = Array.from({ length: 10 }, () => made.schedule(turn('small'), small.task));
    await until(() => small.running.length === 4, { what: 'half of the places to fill' });
    await new Promise(setImmediate);

    expect(small.running).toHaveLength(4);
    small.endAll();
    await Promise.all(all);
  });

  test('with Retry-After is obeyed where nothing limits the rate, too', async () => {
    const made = limiter();
    await made.schedule(turn('small'), async () => {});
    const refusedAt = performance.now();

    made.refused(list, 'global-rate', 400);
    const letGoAt = await made.schedule(turn('small'), async () => performance.now());

    expect(letGoAt - refusedAt).toBeGreaterThanOrEqual(400);
  });

  test('that cannot be told to the others is no fault of the call', async () => {
    const made = limiter({
      slots: { ...slots, slowDown: () => Promise.reject(new Error('connection lost')) },
      limits,
    });

    made.refused(list, 'global-rate');
    await made.close();

    expect(lines).toEqual([expect.stringContaining('The rate of calls could not be lowered')]);
  });
});
