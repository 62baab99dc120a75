// The rate limiter's budget once more in plain code, for tests: what MongoDB's pipelines must do, and a limiter without MongoDB.
import type { Budget, Slot } from '../../src/rate/budget.js';
import { unrestricted } from './stripe-gateway.js';

interface Scope {
  due: number;
  factor: number;
  cutAt: number;
  blockedUntil: number;
}

interface Rates {
  callsPerSecond: number;
  callsPerSecondPerEndpoint: number;
}

const newScope = (): Scope => ({ due: 0, factor: 1, cutAt: 0, blockedUntil: 0 });

export class SlotModel {
  readonly #whole = newScope();
  readonly #endpoints = new Map<string, Scope>();

  /** @param now milliseconds since 1970 */
  take(now: number, wants: readonly string[], rates: Rates): { slots: Slot[]; callsPerSecond: number } {
    const whole = this.#whole;
    for (const scope of [whole, ...wants.map((name) => this.#of(name))]) {
      scope.due = Math.max(scope.due, now, scope.blockedUntil);
    }
    const isOtherRecent = [...this.#endpoints].some(
      ([name, { due }]) => !wants.includes(name) && due > now - 500,
    );
    const slots: (Slot | undefined)[] = wants.map(() => undefined);
    const dueOf = (name: string): number => Math.max(whole.due, this.#of(name).due);
    // Skipping slots that calls to other endpoints may want is only for those that need theirs soon.
    const aheadOf = (name: string): number => (isOtherRecent && this.#of(name).due > whole.due ? 50 : 100);
    for (;;) {
      // The earliest slot that anybody still wants; of two at the same time the more urgent.
      const open = wants
        .map((name, index) => ({ name, index, at: dueOf(name) }))
        .filter(({ name, index, at }) => !slots[index] && at < now + aheadOf(name));
      const next = open.reduce<(typeof open)[number] | undefined>(
        (first, want) => (first && first.at <= want.at ? first : want),
        undefined,
      );
      if (!next) break;
      slots[next.index] = { kind: 'granted', at: next.at };
      const endpoint = this.#of(next.name);
      if (rates.callsPerSecond > 0) whole.due = next.at + interval(rates.callsPerSecond, whole, now);
      if (rates.callsPerSecondPerEndpoint > 0) {
        endpoint.due = next.at + interval(rates.callsPerSecondPerEndpoint, endpoint, now);
      }
    }
    return {
      slots: wants.map((name, index) => {
        const at = dueOf(name);
        return slots[index] ?? { kind: 'later', at, askAt: at - aheadOf(name) };
      }),
      callsPerSecond: rates.callsPerSecond * factorOf(whole, now),
    };
  }

  slowDown(
    now: number,
    { endpoint, cut, blockMs }: { endpoint?: string | undefined; cut: boolean; blockMs: number },
  ) {
    const scope = endpoint === undefined ? this.#whole : this.#of(endpoint);
    if (cut && now - scope.cutAt >= 1_000) {
      scope.factor = Math.max(0.05, factorOf(scope, now) / 2);
      scope.cutAt = now;
    }
    if (blockMs > 0) scope.blockedUntil = Math.max(scope.blockedUntil, now + Math.min(blockMs, 300_000));
  }

  #of(name: string): Scope {
    const known = this.#endpoints.get(name);
    if (known) return known;
    const scope = newScope();
    this.#endpoints.set(name, scope);
    return scope;
  }
}

const factorOf = ({ factor, cutAt }: Scope, now: number): number =>
  Math.min(1, factor + Math.max(0, now - cutAt) * 0.00001);

const interval = (rate: number, scope: Scope, now: number): number =>
  1_000 / rate / factorOf(scope, now) + 0.001;

/** A limiter's budget in this process, on this machine's clock; keeps when it granted what. */
export function memoryBudget(): Budget & { granted: { endpoint: string; at: number }[] } {
  const model = new SlotModel();
  const granted: { endpoint: string; at: number }[] = [];
  return {
    granted,
    take: async (wants, rates) => {
      const now = Date.now();
      const taken = model.take(now, wants, rates);
      taken.slots.forEach((slot, index) => {
        if (slot.kind === 'granted') granted.push({ endpoint: wants[index] ?? '', at: slot.at });
      });
      return { ...unrestricted, now, ...taken };
    },
    slowDown: async (slowdown) => model.slowDown(Date.now(), slowdown),
    count: async () => {},
  };
}

/** The most of these times that lie in any second, its end not included. */
export function mostPerSecond(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  let most = 0;
  let first = 0;
  sorted.forEach((time, index) => {
    while (time - (sorted[first] ?? time) >= 1_000) first += 1;
    most = Math.max(most, index - first + 1);
  });
  return most;
}
