// Fetches a made-up account in virtual time: a source that keeps a rate and answers after a latency, both on a clock that the test turns.
// What it measures does not depend on the machine.
import { setImmediate } from 'node:timers/promises';
import { ListPace } from '../../src/rate/list-pace.js';
import type { ListAnswer, ListQuery, Source, StripeId } from '../../src/sync/ports.js';
import { fetchWindows } from '../../src/sync/scan/list-windows.js';
import { Plan, type Window } from '../../src/sync/scan/plan.js';

export interface VirtualAccount {
  /** Values of `created`, ascending. */
  created: ArrayLike<number>;
  /** Calls per second. */
  rate: number;
  latencyMs: number;
  /** Answers take from `latencyMs - jitterMs` to `latencyMs + jitterMs`. */
  jitterMs?: number;
  /** 0 to 1. */
  random?: () => number;
}

export interface VirtualScan {
  /** Until the last page came. */
  seconds: number;
  calls: number;
  windows: number;
  /** Rows that were brought; each once, or it throws. */
  rows: number;
}

export async function fetchVirtually(
  account: VirtualAccount,
  firstWindows: readonly Window[],
): Promise<VirtualScan> {
  const { created, rate } = account;
  const clock = new VirtualClock();
  const source = new VirtualSource(account, clock);
  const plan = new Plan(firstWindows);
  const seen = new Set<string>();
  let isOver = false;
  const goesOn = (): boolean => !isOver;
  const fetching = fetchWindows(plan, {
    source: source as unknown as Source, // only listing is asked for
    signal: new AbortController().signal,
    room: async () => {},
    onPage: (_, { objects }) => {
      for (const { id } of objects) {
        if (seen.has(id)) throw new Error(`Row ${id} of ${created.length} came twice at rate ${rate}`);
        seen.add(id);
      }
    },
  }).finally(() => {
    isOver = true;
  });
  fetching.catch(() => {}); // awaited below
  while (goesOn()) {
    await setImmediate(); // lets everything run that the last answer has set going
    if (goesOn()) clock.advance();
  }
  await fetching;
  return {
    seconds: clock.nowMs / 1_000,
    calls: source.calls,
    windows: plan.windows.length,
    rows: seen.size,
  };
}

class VirtualClock {
  nowMs = 0;
  /** What is due, the next first. */
  readonly #due: { at: number; wake: () => void }[] = [];

  until(at: number): Promise<void> {
    return new Promise((wake) => {
      const later = this.#due.findIndex((other) => other.at > at);
      this.#due.splice(later < 0 ? this.#due.length : later, 0, { at, wake });
    });
  }

  advance(): void {
    const next = this.#due.shift();
    if (!next) return;
    this.nowMs = next.at;
    next.wake();
  }
}

class VirtualSource {
  calls = 0;
  #nextSlotMs = 0;
  readonly #pace = new ListPace();

  constructor(
    private readonly account: VirtualAccount,
    private readonly clock: VirtualClock,
  ) {}

  listsAtOnce(): number {
    return this.#pace.atOnce(this.account.rate, 256);
  }

  async list({ gte = 0, lt = Infinity, startingAfter, limit }: ListQuery): Promise<ListAnswer> {
    const { rate, latencyMs, jitterMs = 0, random = () => 0.5, created } = this.account;
    const slotMs = Math.max(this.clock.nowMs, this.#nextSlotMs);
    this.#nextSlotMs = slotMs + 1_000 / rate;
    this.calls += 1;
    const tookMs = latencyMs + jitterMs * (2 * random() - 1);
    await this.clock.until(slotMs + tookMs);
    this.#pace.learn(tookMs / 1_000);
    const end = startingAfter === undefined ? firstNotBelow(created, lt) : Number(startingAfter);
    const start = Math.max(firstNotBelow(created, gte), end - limit);
    const objects = [];
    for (let row = end - 1; row >= start; row -= 1) {
      objects.push({ id: String(row) as StripeId, created: created[row] });
    }
    const observed = { from: new Date(0), to: new Date(0) };
    const hasMore = start > firstNotBelow(created, gte);
    return { kind: 'page', objects, invalid: [], hasMore, stripeTime: 0, observed, receivedAtMs: 0 };
  }
}

/** Index of the first value that is not below the bound. */
function firstNotBelow(ascending: ArrayLike<number>, bound: number): number {
  let [from, to] = [0, ascending.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((ascending[middle] ?? 0) < bound) from = middle + 1;
    else to = middle;
  }
  return from;
}
