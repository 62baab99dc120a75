// node-cron → requests. Level-triggered: at each tick, and slowly in between, every replica asks what the latest slot is by MongoDB's clock
// and whether it has been decided. One wins it and inserts a request; a tick that is missed is found by the next look.
import { type Connection, mongo } from 'mongoose';
import { createTask, type ScheduledTask } from 'node-cron';
import type { Logger } from '../base/logger.js';
import { pause } from '../base/waiting.js';
import { type ScheduleState, SlotState } from './slot-state.js';
import { CronSlots } from './slots.js';

export interface ScheduleOptions {
  /** Open; its database holds sync_requests and sync_state. */
  readonly connection: Connection;
  /** Cron expression, five fields or six with seconds first; empty: off. Checked with `validateSchedule` before. */
  readonly schedule: string;
  /** IANA name. */
  readonly timezone: string;
  /** How often to look beside the ticks, in milliseconds. */
  readonly pollIntervalMs: number;
  readonly logger: Logger;
  readonly observer: ScheduleObserver;
  /** Whether a slot that came while nothing ran is inserted late; otherwise it counts as skipped. */
  readonly catchUp: boolean;
  /** Name of this process in sync_state, different for each; a random one by default. */
  readonly owner?: string;
  /** Time by which slots are due; MongoDB's by default. */
  readonly now?: () => Promise<Date>;
}

export interface Schedule {
  /** The next slots after now, by the local clock; none when it is off. For showing. */
  next(count: number): Date[];
  /** Longest time between two slots of the coming years, in seconds; undefined when it is off. */
  readonly intervalSeconds: number | undefined;
  /** Looks now. For tests; ticks and polls do it otherwise. */
  look(): Promise<void>;
  /** Inserts nothing any more; resolves when nothing is under way. */
  stop(): Promise<void>;
}

const scheduleName = 'syncAll';
/** A slot that is decided later than this is late. */
const lateMs = 60_000;
/** A scan that will be tried again within this is still at work: no back-off is longer. */
const atWorkWithinMs = 86_400_000;
/** A `lastSlot` further ahead than this is from a wrong clock, not from another member's slightly different one. */
const wrongClockMs = 86_400_000;

/** Starts the schedule of full scans. An empty expression starts nothing. */
export function startSchedule(options: ScheduleOptions): Schedule {
  if (options.schedule.trim() === '') {
    return {
      next: () => [],
      intervalSeconds: undefined,
      look: () => Promise.resolve(),
      stop: () => Promise.resolve(),
    };
  }
  const schedule = new RunningSchedule(options);
  schedule.start();
  return schedule;
}

class RunningSchedule implements Schedule {
  readonly intervalSeconds: number | undefined;
  readonly #options: ScheduleOptions;
  readonly #slots: CronSlots;
  readonly #state: SlotState;
  readonly #owner: string;
  readonly #stopping = new AbortController();
  #task: ScheduledTask | undefined;
  #polling: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  /** By MongoDB's clock, at the last look: a tick of a clock that is fast comes too early. */
  #msToNext = Infinity;
  #isAdopted = false;
  #lastSeen: Date | undefined;
  /** By MongoDB's clock. A slot from then on did not come while nothing ran. */
  #firstLookAt: Date | undefined;
  #isFailing = false;

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#slots = new CronSlots(options.schedule, options.timezone);
    this.intervalSeconds = this.#slots.longestGapSeconds(new Date());
    this.#state = new SlotState(options.connection, scheduleName);
    this.#owner = options.owner ?? new mongo.ObjectId().toHexString();
  }

  start(): void {
    const { schedule, timezone, logger } = this.#options;
    this.#task = createTask(schedule, () => this.look(), {
      timezone,
      name: scheduleName,
      noOverlap: true,
      // A missed tick is found by the next look.
      suppressMissedWarning: true,
      logger: {
        info: (message) => logger.debug({ message }, 'Said by node-cron'),
        warn: (message) => logger.debug({ message }, 'Said by node-cron'),
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

  /** One at a time: a second call waits for the one under way. Never throws. */
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
      const pauseMs = Math.min(this.#options.pollIntervalMs, this.#msToNext);
      await pause(pauseMs, signal);
    }
  }

  async #look(): Promise<void> {
    const { signal } = this.#stopping;
    const { logger } = this.#options;
    try {
      await this.#decideLatest(signal);
      if (this.#isFailing) logger.info('The schedule goes on');
      this.#isFailing = false;
    } catch (error) {
      if (signal.aborted) return;
      if (!this.#isFailing) logger.warn({ err: error }, 'The schedule cannot be looked at, trying again');
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
        'The last slot lies in the future, set back',
      );
      await this.#state.rewind(state.lastSlot, slot, signal);
      return;
    }
    if (this.#lastSeen && slot <= this.#lastSeen) return;
    if (slot > state.lastSlot) await this.#decide(slot, now, signal);
    // Before its first look this process could not have won it.
    else if (this.#lastSeen) this.#tell(slot, 'lost');
    this.#lastSeen = slot;
  }

  /**
   * On the first look of this process: an expression that is new, or new to this database, starts at its latest slot. Later ones do not
   * look at the expression: during a rollout two versions with two expressions work side by side, and neither may swallow
   * the other's slots. False when there is nothing to decide yet.
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
    // Told before the insertion: if this process dies in between, another one inserts it and tells nothing.
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

// What becomes of the slots of a schedule, for those who measure it.
/**
 * `inserted` in time, `caught_up` late, `skipped` as the last scan was still at work: each once over all replicas, by the one that won
 * the slot. `lost`: another replica won it.
 */
export const slotOutcomes = ['inserted', 'caught_up', 'skipped', 'lost'] as const;
export type SlotOutcome = (typeof slotOutcomes)[number];

export interface ScheduleObserver {
  slotDecided(event: { readonly schedule: string; readonly outcome: SlotOutcome }): void;
}
