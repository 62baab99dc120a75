// The calls of the calendar month, as this process adds to them and learns of them: what it hands over to be counted, and the fault that
// scans meet when the allowance is used up. The count itself lies behind the port SlotStore, shared by all replicas.
import { Fault, reportError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { Month, Reads, SlotStore } from './slot-store.js';
import type { Want } from './waiting-call.js';

/** Calls without a slot are counted together, at most so often. */
const countEveryMs = 1_000;
/** A scan that is held looks again after so long at the latest: the allowance may have been raised. */
const longestHoldMs = 3_600_000;
/** Members of a replica set do not change months in the same millisecond. */
const afterMonthMs = 1_000;

export interface MonthlyReadsOptions {
  /** Calls in a calendar month before scans are held; 0: any number. */
  readonly allowance: number;
  readonly slots: Pick<SlotStore, 'count'>;
  readonly logger: Logger;
}

export class MonthlyReads {
  readonly allowance: number;
  readonly #options: MonthlyReadsOptions;
  #unused = 0;
  #uncounted = 0;
  #counting: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: MonthlyReadsOptions) {
    this.#options = options;
    this.allowance = options.allowance;
  }

  /** What goes with a question for slots. Where the answer is lost too many calls are counted: that is the safer side. */
  hand(wants: readonly Want[]): Reads {
    const firstScan = wants.findIndex(({ turn }) => turn.priority === 'scan');
    const unused = this.#unused;
    this.#unused = 0;
    return { allowance: this.allowance, scansFrom: firstScan < 0 ? wants.length : firstScan, unused };
  }

  /** A slot was counted, and no call will be made with it. */
  leaveUnused(): void {
    this.#unused += 1;
  }

  /** Calls were made without a slot. */
  madeWithoutSlot(calls: number): void {
    this.#uncounted += calls;
    this.#timer ??= setTimeout(() => void this.#count(), countEveryMs);
  }

  /** Tells what is new of the allowance. Returns what scans are refused with, where it is used up. */
  learn(month: Month | undefined, now: number): Fault | undefined {
    if (!month || this.allowance === 0) return undefined;
    const { allowance } = this;
    const { calls, endsAt, news } = month;
    const told = { callsThisMonth: calls, monthlyReadAllowance: allowance, monthEndsAt: new Date(endsAt) };
    const { logger } = this.#options;
    if (news === 'nearly_used') logger.warn(told, "80 % of the month's calls to Stripe are used");
    if (news === 'used_up') logger.warn(told, "The month's calls to Stripe are used up, scans are held");
    if (calls < allowance) return undefined;
    return new Fault(
      'read_allowance_used',
      `${calls} calls to Stripe were made this month, and stripe.monthlyReadAllowance is ${allowance}; scans go on when the month has ended (${new Date(endsAt).toISOString()}) or the allowance is raised`,
      { kind: 'retryable', retryAfterMs: Math.min(longestHoldMs, Math.max(0, endsAt - now) + afterMonthMs) },
    );
  }

  /** Counts what is not counted yet. Never rejects. */
  async close(): Promise<void> {
    await this.#count();
  }

  async #count(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#counting;
    const calls = this.#uncounted;
    if (calls === 0) return;
    this.#uncounted = 0;
    this.#counting = this.#options.slots.count(calls).catch((error: unknown) => {
      this.#uncounted += calls;
      this.#options.logger.debug({ error: reportError(error) }, 'Calls of this month could not be counted');
    });
    await this.#counting;
  }
}
