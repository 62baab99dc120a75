// This process's side of the rate limiter: lets calls go one by one as there is a place in flight and a slot of the shared rate,
// small calls before those of scans. The budget itself lies behind the port SlotStore, shared by all replicas.
import { Fault, reportError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { backoffMs, withDeadline } from '../base/waiting.js';
import { type ClockReading, readingOf } from '../mongo/clock.js';
import type { CallPriority, SharedClock } from '../sync/ports.js';
import { AnswerDelay, AskTimes } from './ask-times.js';
import { InFlight } from './in-flight.js';
import type { Limits, RateLimitReason } from './limits.js';
import { MonthlyReads } from './monthly-reads.js';
import type { SlotStore } from './slot-store.js';
import { type GrantedSlot, type Turn, Want } from './waiting-call.js';

export interface LimiterObserver {
  /** An attempt was let go after waiting this many seconds for a slot of the rate and a place in flight. */
  slotWaited(seconds: number): void;
}

export interface RateLimiterOptions {
  readonly limits: Limits;
  /** Calls in a calendar month before scans are held; 0, the default: any number. */
  readonly monthlyReadAllowance?: number | undefined;
  readonly slots: SlotStore;
  readonly clock: SharedClock;
  readonly observer: LimiterObserver;
  readonly logger: Logger;
  /** 0 to 1, as Math.random. */
  readonly random: () => number;
}

/** The SlotStore grants nothing further ahead: no more need be asked for at once. */
const horizonMs = 100;
const mostWantsAtOnce = 128;
/** A slot that passed longer ago is not used. */
const slotUsableMs = 50;
/** While MongoDB's answers take longer than this, the next question does not wait for them: its slots would pass unused. */
const msBetweenOpenAsks = 40;
const mostAsks = 4;
/** An answer of MongoDB that takes longer counts as none; the slots in it stay unused. */
const askTimeoutMs = 5_000;
const failedAskBackoff = { baseMs: 50, maxMs: 2_000 } as const;

export class RateLimiter {
  readonly #options: RateLimiterOptions;
  readonly #inFlight: InFlight;
  readonly #waiting: Record<CallPriority, Set<Want>> = { small: new Set(), scan: new Set() };
  readonly #askTimes: AskTimes;
  readonly #answerDelay = new AnswerDelay();
  readonly #reads: MonthlyReads;
  /** Questions to MongoDB that are open. */
  #asks = 0;
  #lastAskAt = 0;
  /** When MongoDB last answered, of `performance.now()`. */
  #answeredAt = 0;
  #failedAsks = 0;
  #pausedUntil = 0;
  #lookAgain: NodeJS.Timeout | undefined;
  #callsPerSecond: number;
  #closed: Fault | undefined;
  /** What is being told to the other replicas. */
  readonly #slowing = new Set<Promise<unknown>>();

  constructor(options: RateLimiterOptions) {
    this.#options = options;
    this.#inFlight = new InFlight(options.limits.maxInFlight);
    this.#askTimes = new AskTimes(options.random);
    this.#reads = new MonthlyReads({ ...options, allowance: options.monthlyReadAllowance ?? 0 });
    this.#callsPerSecond = options.limits.callsPerSecond;
  }

  /** Calls per second over all replicas, as Stripe's refusals left it when this process last took a slot; undefined: unlimited. */
  get callsPerSecond(): number | undefined {
    return this.#callsPerSecond === 0 ? undefined : this.#callsPerSecond;
  }

  /** Calls of scans that may be under way at once, as Stripe's refusals left it. */
  get inFlightForScans(): number {
    return this.#inFlight.forScans;
  }

  /**
   * Runs the task, which makes one HTTP call, when its turn has come. It is given the reading of MongoDB's clock that came with the slot.
   * @throws the signal's reason; at the deadline a retryable Fault, `mongodb_unavailable` where there are no slots to be had and
   *   `stripe_rate_limited` otherwise; for scans `read_allowance_used` while the month's allowance is used up; `shutdown` once closed;
   *   what the task throws
   */
  async schedule<T>(turn: Turn, task: (reading: ClockReading) => Promise<T>): Promise<T> {
    turn.signal.throwIfAborted();
    if (this.#closed) throw this.#closed;
    const { priority } = turn;
    const queuedAt = performance.now();
    const want = new Want(turn, () => this.#lateFault(queuedAt));
    this.#waiting[priority].add(want);
    this.#look();
    try {
      const reading = await want.letGo;
      this.#waiting[priority].delete(want);
      this.#options.observer.slotWaited((performance.now() - queuedAt) / 1_000);
      return await this.#inFlight.run(() => task(reading));
    } finally {
      if (want.hasSlot) this.#leaveUnused(want);
      this.#waiting[priority].delete(want);
      this.#giveBack(want);
      this.#look();
    }
  }

  /** Stripe answered 429: slows down what the reason names for all replicas; the calls in flight of this process at once. */
  refused(endpoint: string, reason: RateLimitReason, retryAfterMs = 0): void {
    const isConcurrency = reason === 'global-concurrency' || reason === 'endpoint-concurrency';
    const isLock = reason === 'resource-specific' || reason === 'lock-timeout';
    if (isConcurrency) this.#inFlight.reduce();
    if (isLock) return;
    if (!this.#takesSlots) {
      // Nobody paces these calls: what can be done is to wait as long as Stripe asks for.
      this.#pausedUntil = Math.max(this.#pausedUntil, performance.now() + retryAfterMs);
      return;
    }
    const scope = reason.startsWith('global-') ? {} : { endpoint };
    const slowdown = {
      ...scope,
      cut: !isConcurrency,
      ...(isConcurrency && { fewerInFlight: true }),
      blockMs: retryAfterMs,
    };
    const slowing = inTime(this.#options.slots.slowDown(slowdown))
      .catch((error: unknown) => {
        // The call waits before it is repeated in any case, and the next refusal slows down again.
        this.#options.logger.warn({ error: reportError(error) }, 'The rate of calls could not be lowered');
      })
      .finally(() => this.#slowing.delete(slowing));
    this.#slowing.add(slowing);
  }

  /** Ends all that waits. Calls at work go on. */
  async close(): Promise<void> {
    const closed = new Fault('shutdown', 'Calls to Stripe have ended', { kind: 'retryable' });
    this.#closed = closed;
    clearTimeout(this.#lookAgain);
    for (const want of [...this.#waiting.small, ...this.#waiting.scan]) want.refuse(closed);
    await Promise.all([...this.#slowing, inTime(this.#reads.close()).catch(() => undefined)]);
  }

  /** Without a limit there is nothing to take, unless the month has one. */
  get #takesSlots(): boolean {
    return !this.#isUnlimited || this.#reads.allowance > 0;
  }

  get #isUnlimited(): boolean {
    const { callsPerSecond, callsPerSecondPerEndpoint } = this.#options.limits;
    return callsPerSecond === 0 && callsPerSecondPerEndpoint === 0;
  }

  /** Asks for slots if there is anybody to ask for, otherwise sees to it that it is looked again in time. */
  #look(): void {
    if (this.#closed || this.#asks === mostAsks) return;
    clearTimeout(this.#lookAgain);
    if (this.#waiting.small.size + this.#waiting.scan.size === 0) return;
    const now = performance.now();
    const notBefore = Math.max(this.#pausedUntil, this.#asks > 0 ? this.#lastAskAt + msBetweenOpenAsks : 0);
    const wants = now < notBefore ? [] : this.#due(now);
    if (wants.length > 0) void this.#ask(wants); // never rejects
    const openUntil = this.#asks > 0 ? now + msBetweenOpenAsks : Infinity;
    const next = Math.min(notBefore > now ? notBefore : Infinity, openUntil, this.#askTimes.nextAfter(now));
    this.#lookAgain = setTimeout(() => this.#look(), Math.ceil(next - now));
  }

  /** Who may ask now, with a place taken for each: the small ones first, of each endpoint no more than could be granted. */
  #due(now: number): Want[] {
    const wants: Want[] = [];
    const most = this.#mostPerEndpoint();
    const perEndpoint = new Map<string, number>();
    for (const priority of ['small', 'scan'] as const) {
      for (const want of this.#waiting[priority]) {
        const { endpoint } = want.turn;
        const asked = perEndpoint.get(endpoint) ?? 0;
        if (want.hasPlace || asked >= most || !this.#askTimes.mayAsk(want.turn, now)) continue;
        if (wants.length === mostWantsAtOnce || !this.#inFlight.take(priority)) break;
        want.hasPlace = true;
        perEndpoint.set(endpoint, asked + 1);
        wants.push(want);
      }
    }
    return wants;
  }

  /** Its slot was counted, and no call is made with it. */
  #leaveUnused(want: Want): void {
    want.hasSlot = false;
    this.#reads.leaveUnused();
  }

  #giveBack(want: Want): void {
    if (want.hasPlace) this.#inFlight.giveBack(want.turn.priority);
    want.hasPlace = false;
  }

  /** At most so many could be granted to one endpoint at once. */
  #mostPerEndpoint(): number {
    const { callsPerSecond, callsPerSecondPerEndpoint } = this.#options.limits;
    const rate = Math.min(callsPerSecond || Infinity, callsPerSecondPerEndpoint || Infinity);
    return Math.ceil((rate * horizonMs) / 1_000) + 1;
  }

  async #ask(wants: readonly Want[]): Promise<void> {
    this.#asks += 1;
    this.#lastAskAt = performance.now();
    try {
      if (this.#takesSlots) await this.#takeSlots(wants);
      else await this.#grantAll(wants);
      this.#answeredAt = performance.now();
      if (this.#failedAsks > 0) this.#options.logger.info('Calls to Stripe go on: MongoDB answers again');
      this.#failedAsks = 0;
    } catch (error) {
      for (const want of wants) this.#giveBack(want);
      this.#failedAsks += 1;
      const halfToAll = (): number => 0.5 + this.#options.random() / 2;
      this.#pausedUntil = performance.now() + backoffMs(failedAskBackoff, this.#failedAsks, halfToAll);
      if (this.#failedAsks === 1) {
        this.#options.logger.warn(
          { error: reportError(error) },
          'Calls to Stripe wait: MongoDB does not answer',
        );
      }
    } finally {
      this.#asks -= 1;
      this.#look();
    }
  }

  /** No limit, no slots: only the reading of MongoDB's clock, which dates the answers. */
  async #grantAll(wants: readonly Want[]): Promise<void> {
    const { earliest, latest } = await inTime(this.#options.clock.interval());
    const at = performance.now();
    const reading = { earliest: earliest.getTime(), latest: latest.getTime(), at };
    this.#reads.madeWithoutSlot(wants.filter(({ hasPlace }) => hasPlace).length);
    for (const want of wants) this.#grant(want, { dueAt: at, usableUntil: Infinity, reading });
  }

  async #takeSlots(wants: readonly Want[]): Promise<void> {
    const { slots: store, limits } = this.#options;
    const askedAt = performance.now();
    const endpoints = wants.map(({ turn }) => turn.endpoint);
    const taken = await inTime(store.take(endpoints, limits, this.#reads.hand(wants)));
    const { now, callsPerSecond, inFlightShare = 1, slots } = taken;
    const answeredAt = performance.now();
    this.#callsPerSecond = callsPerSecond;
    this.#inFlight.share = inFlightShare;
    this.#askTimes.learn(answeredAt - askedAt);
    const lateMs = this.#answerDelay.learn(now, askedAt, answeredAt);
    const reading = readingOf(now, askedAt, answeredAt);
    const toOurs = (time: number): number => answeredAt - lateMs + time - now;
    wants.forEach((want, index) => {
      const slot = slots[index];
      if (slot?.kind === 'granted') {
        if (!want.hasPlace) this.#reads.leaveUnused(); // it was given up meanwhile
        const dueAt = toOurs(slot.at);
        this.#grant(want, { dueAt, usableUntil: dueAt + slotUsableMs, reading });
      } else {
        this.#giveBack(want);
        if (slot) this.#askTimes.postpone(want.turn, toOurs(slot.askAt), toOurs(slot.at), answeredAt);
      }
    });
    const usedUp = this.#reads.learn(taken.month, now);
    // Those with a place have a slot, or an answer of their own to come.
    if (usedUp) for (const want of this.#waiting.scan) if (!want.hasPlace) want.refuse(usedUp);
  }

  #grant(want: Want, slot: GrantedSlot): void {
    want.grant(slot, () => {
      this.#leaveUnused(want);
      this.#giveBack(want);
      this.#look();
    });
  }

  #lateFault(queuedAt: number): Fault {
    const hasNoAnswer = this.#asks > 0 && this.#answeredAt < queuedAt;
    const [code, why] =
      this.#failedAsks > 0 || hasNoAnswer
        ? (['mongodb_unavailable', 'MongoDB, which keeps the rate, does not answer'] as const)
        : (['stripe_rate_limited', 'other calls use up the rate limit'] as const);
    return new Fault(code, `No call to Stripe was made in time: ${why}`, { kind: 'retryable' });
  }
}

/**
 * MongoDB's answer, which comes late or never while the server hangs: the limiter does not wait for its driver.
 * @throws Fault `mongodb_unavailable` once it is late; the answer may still take effect
 */
const inTime = <T>(answer: Promise<T>): Promise<T> =>
  withDeadline(
    askTimeoutMs,
    () => answer,
    () => {
      throw new Fault('mongodb_unavailable', `MongoDB did not answer within ${askTimeoutMs} ms`);
    },
  );
