// The faults a test has ordered: which call gets which. How a fault looks on the wire is in fault-answers.ts.
import { matchesCall } from './call-match.js';
import type { CallInfo, FaultHandle, FaultOrder } from './types.js';

interface ActiveFault {
  order: FaultOrder;
  toSkip: number;
  left: number;
  hits: number;
}

export class FaultBoard {
  private active: ActiveFault[] = [];

  add(order: FaultOrder): FaultHandle {
    const fault: ActiveFault = { order, toSkip: order.skip ?? 0, left: order.times ?? 1, hits: 0 };
    this.active.push(fault);
    return {
      get hits() {
        return fault.hits;
      },
      remove: () => {
        this.active = this.active.filter((other) => other !== fault);
      },
    };
  }

  /** The fault for a call that has just arrived; the one ordered first wins and is used up by one. */
  take(call: CallInfo): FaultOrder | undefined {
    for (const fault of this.active) {
      if (fault.left <= 0 || !matchesCall(fault.order, call)) continue;
      if (fault.toSkip > 0) {
        fault.toSkip -= 1;
        continue;
      }
      fault.left -= 1;
      fault.hits += 1;
      return fault.order;
    }
    return undefined;
  }

  clear(): void {
    this.active = [];
  }
}
