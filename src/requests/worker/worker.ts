// The worker of one process. A wake-up or the poll leads to a claim, a claim to an attempt, and the end of an
// attempt to the next look. It stops without losing anything.
import { Fault } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import { isDoneWithin, pause } from '../../base/waiting.js';
import type { OurDatabase } from '../../mongo/sync-state.js';
import type { AttemptEnd, CommandRunner } from '../attempt.js';
import { Claims } from '../claims.js';
import type { LaneName } from '../commands.js';
import { type RequestsObserver, silentRequestsObserver } from '../observer.js';
import type { RequestId, SyncRequestDocument } from '../request.js';
import { ScanLease } from '../scan-lease.js';
import { RequestSteps, type RequestsSettings } from '../steps.js';
import { EqualScans } from '../upkeep/equal-scans.js';
import { InsertionFollower } from '../upkeep/insertion-follower.js';
import { InsertionState } from '../upkeep/insertion-state.js';
import { Sweeper } from '../upkeep/sweep.js';
import { Insertions } from './insertions.js';
import { Lane } from './lane.js';
import { runOnce } from './one-request.js';
import { OutageLog } from './outage.js';
import { type Candidate, Runs } from './runs.js';
import { type WakeUp, WakeUps } from './wake-ups.js';

export type { CommandContext, CommandRunner } from '../attempt.js';

export interface WorkerOptions {
  readonly database: OurDatabase;
  readonly settings: RequestsSettings;
  readonly runner: CommandRunner;
  readonly logger: Logger;
  /** Name of this process, different for each that ever runs. */
  readonly owner: string;
  /**
   * An attempt met a fault that no request can succeed with. The request waits again; the process should end.
   */
  readonly onFatal: (fault: Fault) => void;
  readonly observer?: RequestsObserver;
  /** Wake-ups by change stream; true by default. Without it requests are found by polling. */
  readonly feed?: boolean;
  /** Chance for back-off, 0 to 1. */
  readonly random?: () => number;
}

/** Maximum number of concurrent sweeps of single requests; the poll finds the others. */
const maxSingleSweeps = 20;

export class RequestWorker {
  readonly #options: WorkerOptions;
  readonly #steps: RequestSteps;
  readonly #sweeper: Sweeper;
  readonly #equalScans: EqualScans;
  readonly #insertions: Insertions;
  readonly #follower: InsertionFollower;
  readonly #runs: Runs;
  readonly #wakeUps: WakeUps | undefined;
  readonly #lanes: { readonly small: Lane<Candidate>; readonly scan: Lane<Candidate> };
  readonly #outage: OutageLog;
  readonly #singleSweeps = new Set<Promise<void>>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #stopping = new AbortController();
  readonly #givingUp = new AbortController();
  #polling: Promise<void> | undefined;
  #sweeping: Promise<void> | undefined;
  #lastPollAt: number | undefined;

  constructor(options: WorkerOptions) {
    const { database, settings, logger, owner, observer = silentRequestsObserver } = options;
    this.#options = options;
    this.#outage = new OutageLog(logger, this.#givingUp.signal, observer);
    this.#steps = new RequestSteps(database, owner, settings);
    this.#sweeper = new Sweeper(database, settings, logger, observer);
    this.#equalScans = new EqualScans(database, settings, logger, observer);
    const state = new InsertionState(database, owner);
    const onCaughtUp = (): void => this.#look();
    this.#insertions = new Insertions({ database, state, logger, onCaughtUp });
    this.#follower = new InsertionFollower({
      database,
      state,
      logger,
      seals: this.#insertions.seals,
      onHandled: (token) => this.#insertions.handledUpTo(token),
    });
    this.#runs = new Runs({
      claims: new Claims(database, owner, settings, this.#insertions),
      insertions: this.#insertions,
      scanLease: new ScanLease(database, owner, settings.leaseMs),
      equalScans: this.#equalScans,
      steps: this.#steps,
      runner: options.runner,
      logger,
      observer,
      outage: this.#outage,
      random: options.random ?? Math.random,
      stopping: this.#stopping.signal,
      givingUp: this.#givingUp.signal,
    });
    this.#wakeUps =
      options.feed === false
        ? undefined
        : new WakeUps({ database, logger, onWakeUp: (wakeUp) => this.#onWakeUp(wakeUp) });
    this.#lanes = { small: this.#lane('small', settings.concurrency), scan: this.#lane('scan', 1) };
  }

  /**
   * `performance.now()` of the last turn of the poll loop. The loop turns even if MongoDB does not answer.
   * Undefined before `start`.
   */
  get lastPollAt(): number | undefined {
    return this.#lastPollAt;
  }

  /** Requests that this process works on. */
  get running(): { readonly small: number; readonly scan: number } {
    return { small: this.#lanes.small.running, scan: this.#lanes.scan.running };
  }

  /** Begins to poll, to follow the change stream and to work. Returns at once. */
  start(): void {
    if (this.#polling || this.#stopping.signal.aborted) return;
    if (this.#wakeUps) {
      this.#insertions.begin();
      this.#follower.start();
    }
    this.#polling = this.#poll();
    this.#wakeUps?.start();
  }

  /**
   * Works on one request only, until it has ended: waits for its time, its retries, another process that
   * holds it. For commands that run without a daemon.
   * @returns the request as it ended, without `batch` and `ids`
   * @throws Fault `not_found` when there is no such request, any fatal one, MongoDB's; the signal's reason on
   *   abort, after the request was released
   */
  async runOnce(id: RequestId, signal: AbortSignal): Promise<SyncRequestDocument> {
    const { database, settings } = this.#options;
    const parts = { runs: this.#runs, sweeper: this.#sweeper, equalScans: this.#equalScans };
    return runOnce({ id, database, settings, ...parts, signal });
  }

  // From a wake-up or the poll to a claim

  #onWakeUp(wakeUp: WakeUp): void {
    if (wakeUp.kind === 'opened') {
      this.#insertions.opened(wakeUp.token);
      this.#look();
    } else if (wakeUp.kind === 'ended') {
      if (wakeUp.isFinal) this.#insertions.giveUp();
      else this.#insertions.begin();
    } else if (wakeUp.kind === 'cancel') this.#cancel(wakeUp.id);
    else this.#onPending(wakeUp);
  }

  #onPending({ id, lane, wokenAt, insertion }: Extract<WakeUp, { kind: 'pending' }>): void {
    if (insertion) this.#insertions.remember(id, insertion);
    if (lane === 'unusable') {
      this.#sweepOne(() => this.#sweeper.failUnusable(this.#stopping.signal, { _id: { $eq: id } }));
    }
    if (lane === 'small' || lane === undefined) this.#lanes.small.wake({ id, wokenAt });
    if (lane === 'scan') this.#lanes.scan.wake({ id, wokenAt });
    if (lane === undefined) this.#lanes.scan.look();
  }

  /**
   * Turns about every `pollIntervalMs`, with jitter, so that replicas do not poll together. A turn does not
   * wait for MongoDB.
   */
  async #poll(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      this.#lastPollAt = performance.now();
      this.#look();
      this.#sweeping ??= this.#sweep().finally(() => (this.#sweeping = undefined));
      await pause(this.#steps.settings.pollIntervalMs * (0.9 + 0.1 * Math.random()), signal);
    }
  }

  #look(): void {
    this.#lanes.small.look();
    this.#lanes.scan.look();
  }

  // From a claim to the end of its attempt

  #lane(name: LaneName, capacity: number): Lane<Candidate> {
    return new Lane({
      capacity,
      find: (limit) => this.#runs.find(name, limit),
      claim: async (candidate) => {
        const run = await this.#runs.claim(name, candidate);
        return typeof run === 'string' ? run : async () => this.#onEnd(await run());
      },
      onError: (error) => this.#outage.report(error),
    });
  }

  #onEnd(end: AttemptEnd): void {
    if (end.kind === 'ended' && end.releasedScans) this.#lanes.scan.look();
    if (end.kind !== 'waits') return;
    if (end.fatal) this.#options.onFatal(end.fatal);
    else this.#lookAfter(end.delayMs);
  }

  /** Schedules a search for when a requeued request is due, if that is soon. The poll finds later ones. */
  #lookAfter(delayMs: number): void {
    if (this.#stopping.signal.aborted || delayMs >= this.#steps.settings.pollIntervalMs) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#look();
    }, delayMs);
    this.#timers.add(timer);
  }

  // What no claim reaches

  async #sweep(): Promise<void> {
    const { signal } = this.#stopping;
    try {
      const recovered = await this.#sweeper.sweep(signal);
      const released = await this.#equalScans.settleAll(signal);
      if (recovered + released > 0) this.#look();
      for (const id of await this.#steps.cancelledIds()) this.#cancel(id);
      this.#outage.end();
    } catch (error) {
      this.#outage.report(error);
    }
  }

  #cancel(id: RequestId): void {
    if (this.#runs.cancel(id)) return;
    this.#sweepOne(() => this.#sweeper.endCancelled(this.#stopping.signal, { _id: { $eq: id } }));
  }

  #sweepOne(sweep: () => Promise<unknown>): void {
    if (this.#stopping.signal.aborted || this.#singleSweeps.size >= maxSingleSweeps) return;
    const sweeping: Promise<void> = sweep()
      .then(
        () => undefined,
        (error: unknown) => this.#outage.report(error),
      )
      .finally(() => this.#singleSweeps.delete(sweeping));
    this.#singleSweeps.add(sweeping);
  }

  // The stop

  /**
   * Stops: claims nothing more, lets small requests end, and brings a scan to its next checkpoint at once.
   * After 60 % of the time it stops small requests too. A stopped request is pending again and its attempt
   * does not count. Resolves within `withinMs` with the number of attempts that did not stop in time; their
   * leases expire.
   */
  async drain({ withinMs }: { readonly withinMs: number }): Promise<{ readonly left: number }> {
    const untilMs = performance.now() + withinMs;
    this.#stopping.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    const settled = this.#settle();
    this.#runs.releaseAll('scan');
    if (!(await isDoneWithin(settled, withinMs * 0.6))) {
      this.#runs.releaseAll('small');
      if (!(await isDoneWithin(settled, untilMs - performance.now()))) {
        this.#givingUp.abort(new Fault('shutdown', 'The process is stopping'));
      }
    }
    return { left: this.#runs.count };
  }

  /** Resolves when nothing of this worker is under way any more. */
  async #settle(): Promise<void> {
    const { small, scan } = this.#lanes;
    this.#wakeUps?.close();
    this.#insertions.close();
    await Promise.all([this.#polling, this.#follower.stop(), small.close(), scan.close()]);
    this.#runs.releaseAll('scan');
    await Promise.all([this.#sweeping, small.idle(), scan.idle(), ...this.#singleSweeps]);
  }
}
