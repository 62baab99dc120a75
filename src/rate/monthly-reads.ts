// This process's view of the calls of the calendar month: the calls it reports, and the fault that scans get
// when the allowance is used up. The count itself is behind the port Budget, shared by all replicas.
import { Fault, reportError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import type { Budget, Month } from './budget.js';
import type { ReadsOfMonth } from './budget-month.js';
import type { WaitingCall } from './waiting-call.js';

/** Calls without a slot are counted together, at most this often. */
const countEveryMs = 1_000;
/** A held scan tries again after this long at the latest: the allowance may have been raised. */
const maxHoldMs = 3_600_000;
/** Members of a replica set do not change months in the same millisecond. */
const afterMonthMs = 1_000;

interface MonthlyReadsOptions {
  /** Calls in a calendar month before scans are held; 0: any number. */
  readonly allowance: number;
  readonly budget: Pick<Budget, 'count'>;
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

  /**
   * Calls to report with the next question for slots. If the response is lost, too many calls are counted,
   * which is the safe side.
   */
  takeUnused(calls: readonly WaitingCall[]): ReadsOfMonth {
    const firstScan = calls.findIndex(({ turn }) => turn.priority === 'scan');
    const unused = this.#unused;
    this.#unused = 0;
    return { allowance: this.allowance, scansFrom: firstScan < 0 ? calls.length : firstScan, unused };
  }

  /** A slot was counted, but no call will use it. */
  addUnusedSlot(): void {
    this.#unused += 1;
  }

  addCallsWithoutSlot(calls: number): void {
    this.#uncounted += calls;
    this.#timer ??= setTimeout(() => void this.flush(), countEveryMs);
  }

  /** Logs news of the allowance. Returns the fault for scans once it is used up. */
  learn({ calls, endsAt, news }: Month, now: number): Fault | undefined {
    const { allowance } = this;
    if (allowance === 0) return undefined;
    const told = { callsThisMonth: calls, monthlyReadAllowance: allowance, monthEndsAt: new Date(endsAt) };
    const { logger } = this.#options;
    if (news === 'nearly_used') logger.warn(told, "80 % of the month's calls to Stripe are used");
    if (news === 'used_up') logger.warn(told, "The month's calls to Stripe are used up; scans are held");
    if (calls < allowance) return undefined;
    return new Fault(
      'read_allowance_used',
      `${calls} calls to Stripe were made this month, and stripe.monthlyReadAllowance is ${allowance}; scans resume when the month ends (${new Date(endsAt).toISOString()}) or the allowance is raised`,
      { retryAfterMs: Math.min(maxHoldMs, Math.max(0, endsAt - now) + afterMonthMs) },
    );
  }

  /** Reports the calls that are not counted yet. Never rejects. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#counting;
    const calls = this.#uncounted;
    if (calls === 0) return;
    this.#uncounted = 0;
    this.#counting = this.#options.budget.count(calls).catch((error: unknown) => {
      this.#uncounted += calls;
      this.#options.logger.debug({ error: reportError(error) }, 'Calls of this month could not be counted');
    });
    await this.#counting;
  }
}
