// Turns cron slots into requests. Level-triggered: at each tick of node-cron and at each poll, every replica
// finds the latest slot by MongoDB's clock and checks whether it is decided. One replica wins the slot and
// inserts a request. If a tick is missed, the next poll finds its slot.
import { mongo } from 'mongoose';
import { createTask, type ScheduledTask } from 'node-cron';
import type { Logger } from '../base/logger.js';
import { pause } from '../base/waiting.js';
import { isRefusal } from '../mongo/faults.js';
import type { WritesObserver } from '../mongo/refused-writes.js';
import type { OurDatabase } from '../mongo/sync-state.js';
import { type ScheduleState, SlotState } from './slot-state.js';
import { CronSlots } from './slots.js';

export interface ScheduleOptions {
  readonly database: OurDatabase;
  /**
   * Cron expression of five fields, or six with seconds first; empty: off. Must have passed
   * `validateSchedule`.
   */
  readonly schedule: string;
  /** IANA name. */
  readonly timezone: string;
  /** Maximum time between two checks, in milliseconds. */
  readonly pollIntervalMs: number;
  readonly logger: Logger;
  readonly observer: ScheduleObserver;
  /** Whether a slot that was missed while no replica ran is inserted late. Otherwise it counts as skipped. */
  readonly catchUp: boolean;
  /** Unique name of this process in the state; random by default. */
  readonly owner?: string;
  /** The clock by which slots are due; MongoDB's by default. */
  readonly now?: () => Promise<Date>;
}

export interface Schedule {
  /** The next slots by the local clock, for display; none if the schedule is off. */
  next(count: number): Date[];
  /** Checks now instead of at the next tick or poll. */
  look(): Promise<void>;
  /** Stops ticks and polls. Resolves when no insertion is in progress. */
  stop(): Promise<void>;
}

export const scheduleNames = ['syncAll'] as const;
type ScheduleName = (typeof scheduleNames)[number];

/**
 * The outcome of a slot: `inserted` in time, `caught_up` late, or `skipped` because the last scan had not
 * ended. The replica that won the slot reports it, once over all replicas. `lost`: another replica won it.
 */
export const slotOutcomes = ['inserted', 'caught_up', 'skipped', 'lost'] as const;
type SlotOutcome = (typeof slotOutcomes)[number];

export interface ScheduleObserver extends WritesObserver {
  /** A schedule runs. `intervalSeconds` is the longest time between two of its slots. */
  scheduleStarted(event: { readonly schedule: ScheduleName; readonly intervalSeconds: number }): void;
  slotDecided(event: { readonly schedule: ScheduleName; readonly outcome: SlotOutcome }): void;
}

const [scheduleName] = scheduleNames;
/** A slot that is decided later than this counts as late. */
const lateMs = 60_000;
/** A scan whose next attempt is due within this time counts as active: no backoff is longer. */
const atWorkWithinMs = 86_400_000;
/**
 * A `lastSlot` further ahead than this comes from a wrong clock. Clocks of two MongoDB members differ less.
 */
const wrongClockMs = 86_400_000;

/** Starts the schedule of full scans. An empty expression starts nothing. */
export function startSchedule(options: ScheduleOptions): Schedule {
  if (options.schedule.trim() === '') {
    return { next: () => [], look: () => Promise.resolve(), stop: () => Promise.resolve() };
  }
  const schedule = new RunningSchedule(options);
  schedule.start();
  return schedule;
}

class RunningSchedule implements Schedule {
  readonly #options: ScheduleOptions;
  readonly #slots: CronSlots;
  readonly #state: SlotState;
  readonly #owner: string;
  readonly #stopping = new AbortController();
  #task: ScheduledTask | undefined;
  #polling: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  /**
   * Time to the next slot by MongoDB's clock, at the last check. A tick of a fast local clock comes too
   * early.
   */
  #msToNext = Infinity;
  #isAdopted = false;
  #lastSeen: Date | undefined;
  /** By MongoDB's clock. A later slot was not missed while no replica ran. */
  #firstLookAt: Date | undefined;
  #isFailing = false;

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#slots = new CronSlots(options.schedule, options.timezone);
    this.#state = new SlotState(options.database, scheduleName);
    this.#owner = options.owner ?? new mongo.ObjectId().toHexString();
  }

  start(): void {
    const { schedule, timezone, logger, observer } = this.#options;
    const intervalSeconds = this.#slots.longestGapSeconds(new Date());
    if (intervalSeconds !== undefined) observer.scheduleStarted({ schedule: scheduleName, intervalSeconds });
    this.#task = createTask(schedule, () => this.look(), {
      timezone,
      name: scheduleName,
      noOverlap: true,
      // If a tick is missed, the next check finds its slot.
      suppressMissedWarning: true,
      logger: {
        info: (message) => logger.debug({ message }, 'Message of node-cron'),
        warn: (message) => logger.debug({ message }, 'Message of node-cron'),
        error: (error) => logger.warn({ err: error }, 'Cron tick failed'),
        debug: () => undefined,
      },
    });
    void this.#task.start();
    this.#polling = this.#poll();
  }

  next(count: number): Date[] {
    return this.#slots.next(count, new Date());
  }

  /** Only one check at a time: a second call waits for the one in progress. Never throws. */
  async look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    await this.#looking;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#task?.destroy();
    await Promise.all([this.#polling, this.#looking]);
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.look();
      await pause(Math.min(this.#options.pollIntervalMs, this.#msToNext), signal);
    }
  }

  async #look(): Promise<void> {
    const { signal } = this.#stopping;
    const { logger } = this.#options;
    try {
      await this.#decideLatest(signal);
      if (this.#isFailing) {
        logger.info('The schedule works again');
        this.#options.observer.writesAccepted('requests');
      }
      this.#isFailing = false;
    } catch (error) {
      if (signal.aborted) return;
      if (isRefusal(error)) this.#options.observer.writesRefused('requests');
      if (!this.#isFailing) logger.warn({ err: error }, 'The schedule cannot be read or updated; retrying');
      this.#isFailing = true;
    }
  }

  async #decideLatest(signal: AbortSignal): Promise<void> {
    const { state, now: mongoNow } = await this.#state.read(signal);
    const now = (await this.#options.now?.()) ?? mongoNow;
    this.#firstLookAt ??= now;
    this.#msToNext = (this.#slots.next(1, now)[0]?.getTime() ?? Infinity) - now.getTime();
    if (state?.inserting) await this.#state.complete(state.inserting, signal);
    const slot = this.#slots.latest(now);
    if (!slot) return;
    if (!(await this.#adopt(state, slot, signal)) || !state) return;
    if (state.lastSlot.getTime() > now.getTime() + wrongClockMs) {
      this.#options.logger.warn(
        { lastSlot: state.lastSlot, slot },
        'The last slot was in the future; it was moved back',
      );
      await this.#state.rewind(state.lastSlot, slot, signal);
      return;
    }
    if (this.#lastSeen && slot <= this.#lastSeen) return;
    if (slot > state.lastSlot) await this.#decide(slot, now, signal);
    // This process can only have won slots that came after its first check.
    else if (this.#lastSeen) this.#tell(slot, 'lost');
    this.#lastSeen = slot;
  }

  /**
   * If the expression differs from the stored one at the first check of this process, the schedule starts at
   * its latest slot. Later checks do not compare. During a rollout two versions may have two expressions, and
   * neither may take slots from the other. False when there is nothing to decide yet.
   */
  async #adopt(state: ScheduleState | undefined, slot: Date, signal: AbortSignal): Promise<boolean> {
    if (this.#isAdopted) return true;
    const { schedule, timezone, logger } = this.#options;
    const isSame = state?.expression === schedule && state.timezone === timezone;
    if (!isSame) {
      await this.#state.adopt(schedule, timezone, slot, signal);
      logger.info({ schedule, timezone, next: this.next(1)[0] }, 'Schedule set up');
      this.#lastSeen = slot;
    }
    this.#isAdopted = true;
    return isSame;
  }

  async #decide(slot: Date, now: Date, signal: AbortSignal): Promise<void> {
    const isLate = now.getTime() - slot.getTime() > lateMs;
    const isMissed = isLate && this.#firstLookAt !== undefined && slot < this.#firstLookAt;
    const isUnwanted = isMissed && !this.#options.catchUp;
    const isSkipped = isUnwanted || (await this.#state.isScanAtWork(atWorkWithinMs, signal));
    const requestId = isSkipped ? null : new mongo.ObjectId();
    const isWon = await this.#state.win({ slot, owner: this.#owner, requestId }, signal);
    if (!isWon) {
      this.#tell(slot, 'lost');
      return;
    }
    // Before the insertion: if this process dies in between, another one inserts the request without
    // reporting the slot.
    this.#tell(slot, isSkipped ? 'skipped' : isLate ? 'caught_up' : 'inserted', requestId);
    if (requestId) await this.#state.complete(requestId, signal);
  }

  #tell(slot: Date, outcome: SlotOutcome, requestId?: mongo.ObjectId | null): void {
    const { logger, observer } = this.#options;
    observer.slotDecided({ schedule: scheduleName, outcome });
    const level = outcome === 'lost' ? 'debug' : 'info';
    logger[level]({ slot, outcome, ...(requestId && { requestId }) }, 'Slot of the schedule decided');
  }
}
