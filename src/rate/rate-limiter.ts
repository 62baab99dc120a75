// The rate limiter of this process. A call starts when it holds a permit of this process and a slot of the
// budget that all replicas share. Small calls take precedence over scans.
import { Fault, reportError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { backoffMs, withDeadline } from '../base/waiting.js';
import { isDuplicateKey, isRefusal, toMongoFault } from '../mongo/faults.js';
import { type ClockReading, type MongoClock, readingOf } from '../mongo/clock.js';
import type { CallPriority } from '../sync/ports.js';
import { AnswerDelay, AskTimes } from './ask-times.js';
import type { Budget } from './budget.js';
import { horizonMs } from './budget-pipeline.js';
import { InFlight } from './in-flight.js';
import type { Limits, RateLimitReason } from './limits.js';
import { MonthlyReads } from './monthly-reads.js';
import { type GrantedSlot, type Turn, WaitingCall } from './waiting-call.js';

export interface LimiterObserver {
  /** An attempt started after waiting this many seconds for a permit and a slot. */
  slotWaited(seconds: number): void;
}

export interface RateLimiterOptions {
  readonly limits: Limits;
  /** Calls in a calendar month before scans are held; 0, the default: any number. */
  readonly monthlyReadAllowance?: number | undefined;
  readonly budget: Budget;
  readonly clock: Pick<MongoClock, 'interval' | 'learn'>;
  readonly observer: LimiterObserver;
  readonly logger: Logger;
  /** 0 to 1, as Math.random. */
  readonly random: () => number;
}

const maxCallsPerAsk = 128;
/** A slot expires this long after it was due. */
const slotUsableMs = 50;
/**
 * If MongoDB takes longer than this to answer, the next question does not wait for the answer: slots would
 * expire unused.
 */
const msBetweenOpenAsks = 40;
const maxOpenAsks = 4;
/** A later answer of MongoDB is ignored; its slots stay unused. */
const askTimeoutMs = 5_000;
const failedAskBackoff = { baseMs: 50, maxMs: 2_000 } as const;

export class RateLimiter {
  readonly #options: RateLimiterOptions;
  readonly #inFlight: InFlight;
  readonly #waiting: Record<CallPriority, Set<WaitingCall>> = { small: new Set(), scan: new Set() };
  readonly #askTimes: AskTimes;
  readonly #answerDelay = new AnswerDelay();
  readonly #reads: MonthlyReads;
  /** Open questions to MongoDB. */
  #openAsks = 0;
  #lastAskAt = 0;
  /** When MongoDB last answered, by `performance.now()`. */
  #answeredAt = 0;
  #failedAsks = 0;
  #pausedUntil = 0;
  #nextDispatch: NodeJS.Timeout | undefined;
  #callsPerSecond: number;
  /** Maximum number of slots that one question can get for an endpoint. */
  readonly #maxSlotsPerEndpoint: number;
  #closed: Fault | undefined;
  /** Slowdowns that MongoDB has not confirmed yet. */
  readonly #slowing = new Set<Promise<unknown>>();

  constructor(options: RateLimiterOptions) {
    this.#options = options;
    this.#inFlight = new InFlight(options.limits.maxInFlight);
    this.#askTimes = new AskTimes(options.random);
    this.#reads = new MonthlyReads({ ...options, allowance: options.monthlyReadAllowance ?? 0 });
    const { callsPerSecond, callsPerSecondPerEndpoint } = options.limits;
    this.#callsPerSecond = callsPerSecond;
    const rate = Math.min(callsPerSecond || Infinity, callsPerSecondPerEndpoint || Infinity);
    this.#maxSlotsPerEndpoint = Math.ceil((rate * horizonMs) / 1_000) + 1;
  }

  /**
   * Calls per second over all replicas, after Stripe's 429s, when this process last took a slot; undefined:
   * unlimited.
   */
  get callsPerSecond(): number | undefined {
    return this.#callsPerSecond || undefined;
  }

  /** Calls of scans that may be in flight at once, after Stripe's 429s. */
  get inFlightForScans(): number {
    return this.#inFlight.forScans;
  }

  /**
   * Runs the task, which makes one HTTP call, when its slot is due. The task is given the reading of
   * MongoDB's clock that came with the slot.
   * @throws the signal's reason; at the deadline a retryable Fault, `mongodb_unavailable` where MongoDB gives
   *   no slots and `stripe_rate_limited` otherwise; `mongodb_rejected` if MongoDB refuses them; for scans
   *   `read_allowance_used` while the month's allowance is used up; `shutdown` once closed; what the task
   *   throws
   */
  async schedule<T>(turn: Turn, task: (reading: ClockReading) => Promise<T>): Promise<T> {
    turn.signal.throwIfAborted();
    if (this.#closed) throw this.#closed;
    const { priority } = turn;
    const queuedAt = performance.now();
    const call = new WaitingCall(turn, () => this.#lateFault(queuedAt));
    this.#waiting[priority].add(call);
    this.#dispatch();
    try {
      const reading = await call.started;
      this.#waiting[priority].delete(call);
      this.#options.observer.slotWaited((performance.now() - queuedAt) / 1_000);
      return await this.#inFlight.run(() => task(reading));
    } finally {
      if (call.hasSlot) this.#leaveSlot(call);
      this.#waiting[priority].delete(call);
      this.#release(call);
      this.#dispatch();
    }
  }

  /**
   * Stripe answered 429: slows all replicas down in the scope that the reason names, this process's calls in
   * flight at once.
   */
  refused(endpoint: string, reason: RateLimitReason, retryAfterMs = 0): void {
    const isConcurrency = reason === 'global-concurrency' || reason === 'endpoint-concurrency';
    const isLock = reason === 'resource-specific' || reason === 'lock-timeout';
    if (isConcurrency) this.#inFlight.reduce();
    if (isLock) return;
    if (!this.#takesSlots) {
      // These calls are not paced, so only Stripe's Retry-After can be obeyed.
      this.#pausedUntil = Math.max(this.#pausedUntil, performance.now() + retryAfterMs);
      return;
    }
    const slowdown = {
      ...(!reason.startsWith('global-') && { endpoint }),
      cut: !isConcurrency,
      ...(isConcurrency && { fewerInFlight: true }),
      blockMs: retryAfterMs,
    };
    const slowing = inTime(this.#options.budget.slowDown(slowdown))
      .catch((error: unknown) => {
        // The call backs off in any case, and the next 429 slows down again.
        const fault = toMongoFault(error, 'reducing the rate');
        this.#options.logger.warn({ error: reportError(fault) }, 'The rate of calls could not be reduced');
      })
      .finally(() => this.#slowing.delete(slowing));
    this.#slowing.add(slowing);
  }

  /** Refuses all waiting calls. Calls in flight go on. */
  async close(): Promise<void> {
    const closed = new Fault('shutdown', 'Shutting down: no further calls to Stripe');
    this.#closed = closed;
    clearTimeout(this.#nextDispatch);
    for (const call of [...this.#waiting.small, ...this.#waiting.scan]) call.refuse(closed);
    await Promise.all([...this.#slowing, inTime(this.#reads.flush()).catch(() => undefined)]);
  }

  /** Slots are taken only where the rate or the month is limited. */
  get #takesSlots(): boolean {
    const { callsPerSecond, callsPerSecondPerEndpoint } = this.#options.limits;
    return callsPerSecond > 0 || callsPerSecondPerEndpoint > 0 || this.#reads.allowance > 0;
  }

  /** Asks for the slots of the calls that may ask now, and sets the timer for the others. */
  #dispatch(): void {
    if (this.#closed || this.#openAsks === maxOpenAsks) return;
    clearTimeout(this.#nextDispatch);
    if (this.#waiting.small.size + this.#waiting.scan.size === 0) return;
    const now = performance.now();
    const notBefore = Math.max(
      this.#pausedUntil,
      this.#openAsks > 0 ? this.#lastAskAt + msBetweenOpenAsks : 0,
    );
    const calls = now < notBefore ? [] : this.#nextCalls(now);
    if (calls.length > 0) void this.#ask(calls); // never rejects
    const openUntil = this.#openAsks > 0 ? now + msBetweenOpenAsks : Infinity;
    const next = Math.min(notBefore > now ? notBefore : Infinity, openUntil, this.#askTimes.nextAfter(now));
    this.#nextDispatch = setTimeout(() => this.#dispatch(), Math.ceil(next - now));
  }

  /**
   * The calls that may ask now, small ones first, each with a permit. Per endpoint there are no more than
   * could be granted.
   */
  #nextCalls(now: number): WaitingCall[] {
    const calls: WaitingCall[] = [];
    const perEndpoint = new Map<string, number>();
    for (const priority of ['small', 'scan'] as const) {
      for (const call of this.#waiting[priority]) {
        const { endpoint } = call.turn;
        const asked = perEndpoint.get(endpoint) ?? 0;
        const isTooMany = asked >= this.#maxSlotsPerEndpoint;
        if (call.hasPermit || isTooMany || !this.#askTimes.mayAsk(call.turn, now)) continue;
        if (calls.length === maxCallsPerAsk || !this.#inFlight.acquire(priority)) break;
        call.hasPermit = true;
        perEndpoint.set(endpoint, asked + 1);
        calls.push(call);
      }
    }
    return calls;
  }

  /** Its slot was counted, but no call uses it. */
  #leaveSlot(call: WaitingCall): void {
    call.hasSlot = false;
    this.#reads.addUnusedSlot();
  }

  #release(call: WaitingCall): void {
    if (call.hasPermit) this.#inFlight.release(call.turn.priority);
    call.hasPermit = false;
  }

  async #ask(calls: readonly WaitingCall[]): Promise<void> {
    this.#openAsks += 1;
    this.#lastAskAt = performance.now();
    try {
      if (this.#takesSlots) await this.#takeSlots(calls);
      else await this.#grantAll(calls);
      this.#answeredAt = performance.now();
      if (this.#failedAsks > 0) this.#options.logger.info('MongoDB answers again; calls to Stripe continue');
      this.#failedAsks = 0;
    } catch (error) {
      const fault = toMongoFault(error, 'taking calls from the budget of the rate');
      const isRefused = isRefusal(error) && !isDuplicateKey(error);
      for (const call of calls) {
        this.#release(call);
        // Whoever asks again is refused again.
        if (isRefused) call.refuse(fault);
      }
      this.#failedAsks += 1;
      const halfToAll = (): number => 0.5 + this.#options.random() / 2;
      this.#pausedUntil = performance.now() + backoffMs(failedAskBackoff, this.#failedAsks, halfToAll);
      if (this.#failedAsks === 1) {
        this.#options.logger.warn(
          { error: reportError(fault) },
          isRefused
            ? 'MongoDB refuses to count calls to Stripe; none is made'
            : 'MongoDB does not answer; calls to Stripe are paused',
        );
      }
    } finally {
      this.#openAsks -= 1;
      this.#dispatch();
    }
  }

  /** Without limits only MongoDB's clock is read, to date the answers. */
  async #grantAll(calls: readonly WaitingCall[]): Promise<void> {
    const { earliest, latest } = await inTime(this.#options.clock.interval());
    const at = performance.now();
    const reading = { earliest: earliest.getTime(), latest: latest.getTime(), at };
    this.#reads.addCallsWithoutSlot(calls.filter(({ hasPermit }) => hasPermit).length);
    for (const call of calls) this.#grant(call, { dueAt: at, usableUntil: Infinity, reading });
  }

  async #takeSlots(calls: readonly WaitingCall[]): Promise<void> {
    const { budget, limits } = this.#options;
    const askedAt = performance.now();
    const endpoints = calls.map(({ turn }) => turn.endpoint);
    const taken = await inTime(budget.take(endpoints, limits, this.#reads.takeUnused(calls)));
    const { now, callsPerSecond, inFlightShare, slots } = taken;
    const answeredAt = performance.now();
    this.#callsPerSecond = callsPerSecond;
    this.#inFlight.share = inFlightShare;
    this.#askTimes.learn(answeredAt - askedAt);
    const lateMs = this.#answerDelay.learn(now, askedAt, answeredAt);
    const reading = readingOf(now, askedAt, answeredAt);
    this.#options.clock.learn(reading);
    const toOurs = (time: number): number => answeredAt - lateMs + time - now;
    calls.forEach((call, index) => {
      const slot = slots[index];
      if (slot?.kind === 'granted') {
        if (!call.hasPermit) this.#reads.addUnusedSlot(); // the call ended meanwhile
        const dueAt = toOurs(slot.at);
        this.#grant(call, { dueAt, usableUntil: dueAt + slotUsableMs, reading });
      } else {
        this.#release(call);
        if (slot) this.#askTimes.postpone(call.turn, toOurs(slot.askAt), toOurs(slot.at), answeredAt);
      }
    });
    const usedUp = this.#reads.learn(taken.month, now);
    // A scan with a permit has a slot, or waits for an answer of its own.
    if (usedUp) for (const call of this.#waiting.scan) if (!call.hasPermit) call.refuse(usedUp);
  }

  #grant(call: WaitingCall, slot: GrantedSlot): void {
    call.grant(slot, () => {
      this.#leaveSlot(call);
      this.#release(call);
      this.#dispatch();
    });
  }

  #lateFault(queuedAt: number): Fault {
    const hasNoAnswer = this.#openAsks > 0 && this.#answeredAt < queuedAt;
    const [code, why] =
      this.#failedAsks > 0 || hasNoAnswer
        ? (['mongodb_unavailable', 'MongoDB, which keeps the rate, does not answer'] as const)
        : (['stripe_rate_limited', 'other calls use up the rate limit'] as const);
    return new Fault(code, `No call to Stripe was made in time: ${why}`);
  }
}

/**
 * MongoDB's answer, which may never come while the server hangs. The limiter does not rely on the driver's
 * timeout.
 * @throws Fault `mongodb_unavailable` once the answer is late; the update may still take effect
 */
const inTime = <T>(answer: Promise<T>): Promise<T> =>
  withDeadline(
    askTimeoutMs,
    () => answer,
    () => {
      throw new Fault('mongodb_unavailable', `MongoDB did not answer within ${askTimeoutMs} ms`);
    },
  );
