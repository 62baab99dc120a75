// Holding single answers, so that tests can order interleavings without sleeping.
import { matchesCall } from './call-match.js';
import type { CallInfo, Hold, HoldOrder } from './types.js';

interface ActiveHold {
  order: HoldOrder;
  toSkip: number;
  reached: () => void;
  released: Promise<void>;
  release: () => void;
}

/** The holds that apply to one call. */
export interface CallHolds {
  readonly isEmpty: boolean;
  at(when: HoldOrder['when']): Promise<void>;
}

const NONE: CallHolds = { isEmpty: true, at: () => Promise.resolve() };

export class HoldBoard {
  private waiting: ActiveHold[] = [];
  private readonly unreleased = new Set<ActiveHold>();

  add(order: HoldOrder): Hold {
    const arrived = deferred();
    const released = deferred();
    const hold: ActiveHold = {
      order,
      toSkip: order.skip ?? 0,
      reached: arrived.resolve,
      released: released.promise,
      release: () => {
        this.waiting = this.waiting.filter((other) => other !== hold);
        this.unreleased.delete(hold);
        released.resolve();
      },
    };
    this.waiting.push(hold);
    this.unreleased.add(hold);
    return { arrived: arrived.promise, release: hold.release };
  }

  /** Takes the holds meant for a call that has just arrived: at most one before and one after computing. */
  take(call: CallInfo): CallHolds {
    if (this.waiting.length === 0) return NONE;
    const before = this.takeOne(call, 'before-compute');
    const after = this.takeOne(call, 'after-compute');
    if (before === undefined && after === undefined) return NONE;
    return {
      isEmpty: false,
      at: async (when) => {
        const hold = when === 'before-compute' ? before : after;
        hold?.reached();
        await hold?.released;
      },
    };
  }

  releaseAll(): void {
    for (const hold of [...this.unreleased]) hold.release();
  }

  private takeOne(call: CallInfo, when: HoldOrder['when']): ActiveHold | undefined {
    for (const hold of this.waiting) {
      if (hold.order.when !== when || !matchesCall(hold.order, call)) continue;
      if (hold.toSkip > 0) {
        hold.toSkip -= 1;
        continue;
      }
      this.waiting = this.waiting.filter((other) => other !== hold);
      return hold;
    }
    return undefined;
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
