// The worker of one process: wake-ups and the slow poll in, claims in two lanes, runs, and a stop that loses nothing.
import type { Connection } from 'mongoose';
import { Fault } from '../../base/errors.js';
import type { Logger } from '../../base/logger.js';
import { isDoneWithin, pause } from '../../base/waiting.js';
import { isPassing, toMongoFault } from '../../mongo/faults.js';
import type { CommandRunner, RunEnd } from '../attempt.js';
import { Claims } from '../claims.js';
import { type RequestsObserver, silentRequestsObserver } from '../observer.js';
import type { RequestId, SyncRequestDocument } from '../request.js';
import { ScanLease } from '../scan-lease.js';
import { RequestQueue, type RequestsSettings } from '../steps.js';
import { Coalescing } from '../upkeep/equal-scans.js';
import { Housekeeping } from '../upkeep/sweep.js';
import { type ClaimResult, Lane } from './lane.js';
import { runOnce } from './one-request.js';
import { type Wake, Workbench } from './runs.js';
import { type FeedEvent, RequestFeed } from './wake-ups.js';

export type { CommandRunner, RunContext } from '../attempt.js';

export interface WorkerOptions {
  /** Open; its database holds sync_requests and sync_state. */
  readonly connection: Connection;
  readonly settings: RequestsSettings;
  readonly runner: CommandRunner;
  readonly logger: Logger;
  /** Name of this process, different for each that ever runs. */
  readonly owner: string;
  /** A run met a fault that no request can succeed with. The request waits again; the process should end. */
  readonly onFatal: (fault: Fault) => void;
  readonly observer?: RequestsObserver;
  /** Wake-ups by change stream; true by default. Without it requests are found by polling. */
  readonly feed?: boolean;
  /** Chance for back-off, 0 to 1. */
  readonly random?: () => number;
}

/** Steps for single requests that may be under way at once; the poll does what is beyond. */
const maxErrands = 20;

export class RequestWorker {
  readonly #options: WorkerOptions;
  readonly #observer: RequestsObserver;
  readonly #queue: RequestQueue;
  readonly #housekeeping: Housekeeping;
  readonly #coalescing: Coalescing;
  readonly #bench: Workbench;
  readonly #feed: RequestFeed | undefined;
  readonly #lanes: { readonly small: Lane<Wake>; readonly scan: Lane<Wake> };
  readonly #errands = new Set<Promise<void>>();
  readonly #alarms = new Set<NodeJS.Timeout>();
  readonly #stopping = new AbortController();
  readonly #givingUp = new AbortController();
  #polling: Promise<void> | undefined;
  #sweeping: Promise<void> | undefined;
  #lastPollAt: number | undefined;
  /** What MongoDB fails with at present. */
  #failing: string | undefined;

  constructor(options: WorkerOptions) {
    const { connection, settings, logger, owner } = options;
    this.#options = options;
    this.#observer = options.observer ?? silentRequestsObserver;
    this.#queue = new RequestQueue(connection, owner, settings);
    this.#housekeeping = new Housekeeping(connection, settings, logger, this.#observer);
    const coalescing = new Coalescing(connection, settings, logger, this.#observer);
    this.#coalescing = coalescing;
    const onError = (error: unknown): void => this.#report(error);
    this.#bench = new Workbench({
      claims: new Claims(connection, owner, settings),
      queue: this.#queue,
      coalescing,
      scanLease: new ScanLease(connection, owner, settings.leaseMs),
      runner: options.runner,
      logger,
      observer: this.#observer,
      random: options.random ?? Math.random,
      stopping: this.#stopping.signal,
      givingUp: this.#givingUp.signal,
      onReleased: () => this.#lanes.scan.look(),
      onError,
    });
    this.#feed =
      options.feed === false
        ? undefined
        : new RequestFeed({ connection, logger, onEvent: (event) => this.#onFeed(event) });
    const bench = this.#bench;
    this.#lanes = {
      small: new Lane({
        capacity: settings.concurrency,
        find: (limit) => bench.find('small', limit),
        claim: async (wake) => this.#jobOf(await bench.claimSmall(wake)),
        onError,
      }),
      scan: new Lane({
        capacity: 1,
        find: (limit) => bench.find('scan', limit),
        claim: async (wake) => this.#jobOf(await bench.claimScan(wake)),
        onError,
      }),
    };
  }

  /** `performance.now()` of the last turn of the poll loop; it turns whether MongoDB answers or not. Undefined before `start`. */
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
    this.#polling = this.#poll();
    this.#feed?.start();
  }

  /**
   * Stops: claims nothing more, lets small requests end, brings a scan to its next checkpoint at once. At 60 % of the time small ones are
   * stopped too; what was stopped waits again, its attempt given back. Resolves within `withinMs`, with the number of runs that
   * did not stop in time: their leases run out.
   */
  async drain({ withinMs }: { readonly withinMs: number }): Promise<{ readonly left: number }> {
    const untilMs = performance.now() + withinMs;
    this.#stopping.abort();
    for (const alarm of this.#alarms) clearTimeout(alarm);
    const quiet = this.#settle();
    this.#bench.shutDown('scan');
    if (!(await isDoneWithin(quiet, withinMs * 0.6))) {
      this.#bench.shutDown('small');
      if (!(await isDoneWithin(quiet, untilMs - performance.now()))) this.#givingUp.abort(stopped());
    }
    return { left: this.#bench.running };
  }

  /**
   * Works on one request only, until it has ended: waits for its time, its retries, another process that holds it. For commands that run
   * without a daemon.
   * @returns the request as it ended, without `batch` and `ids`
   * @throws Fault `not_found` when there is no such request, any fatal one, MongoDB's; the signal's reason on abort, after the
   * request was released
   */
  async runOnce(id: RequestId, signal: AbortSignal): Promise<SyncRequestDocument> {
    const { connection, settings } = this.#options;
    return runOnce({
      id,
      connection,
      settings,
      bench: this.#bench,
      housekeeping: this.#housekeeping,
      coalescing: this.#coalescing,
      signal,
    });
  }

  // Wake-ups

  #onFeed(event: FeedEvent): void {
    if (event.kind === 'opened') {
      this.#look();
    } else if (event.kind === 'cancel') {
      this.#cancel(event.id);
    } else {
      const { id, lane, wokenAt } = event;
      const only = { _id: { $eq: id } };
      if (lane === 'odd') this.#errand(() => this.#housekeeping.failOdd(this.#stopping.signal, only));
      if (lane === 'small' || lane === undefined) this.#lanes.small.wake({ id, wokenAt });
      if (lane === 'scan') this.#lanes.scan.wake({ id, wokenAt });
      if (lane === undefined) this.#lanes.scan.look();
    }
  }

  #cancel(id: RequestId): void {
    if (!this.#bench.cancel(id))
      this.#errand(() => this.#housekeeping.endCancelled(this.#stopping.signal, { _id: { $eq: id } }));
  }

  #look(): void {
    this.#lanes.small.look();
    this.#lanes.scan.look();
  }

  // The slow poll

  /** Turns every `pollIntervalMs`, give or take, so that replicas do not poll together. A turn does not wait for MongoDB. */
  async #poll(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      this.#lastPollAt = performance.now();
      this.#look();
      this.#sweeping ??= this.#sweep().finally(() => (this.#sweeping = undefined));
      const pauseMs = this.#queue.settings.pollIntervalMs * (0.9 + 0.1 * Math.random());
      await pause(pauseMs, signal);
    }
  }

  async #sweep(): Promise<void> {
    try {
      const recovered = await this.#housekeeping.sweep(this.#stopping.signal);
      const released = await this.#coalescing.settleAll(this.#stopping.signal);
      if (recovered + released > 0) this.#look();
      for (const id of await this.#queue.cancelledIds()) this.#cancel(id);
      this.#answered();
    } catch (error) {
      this.#report(error);
    }
  }

  #errand(step: () => Promise<unknown>): void {
    if (this.#stopping.signal.aborted || this.#errands.size >= maxErrands) return;
    const errand: Promise<void> = step()
      .then(
        () => undefined,
        (error: unknown) => this.#report(error),
      )
      .finally(() => this.#errands.delete(errand));
    this.#errands.add(errand);
  }

  #jobOf(work: (() => Promise<RunEnd>) | 'busy' | undefined): ClaimResult {
    if (work === undefined) return 'taken';
    return work === 'busy' ? 'rest' : async () => this.#told(await work());
  }

  #told(end: RunEnd): void {
    if (end.kind !== 'waits') return;
    if (end.fatal) this.#options.onFatal(end.fatal);
    else this.#lookIn(end.delayMs);
  }

  /** Looks when a request that waits for its next attempt is due; the poll finds in time what is due later. */
  #lookIn(delayMs: number): void {
    if (this.#stopping.signal.aborted || delayMs >= this.#queue.settings.pollIntervalMs) return;
    const alarm = setTimeout(() => {
      this.#alarms.delete(alarm);
      this.#look();
    }, delayMs);
    this.#alarms.add(alarm);
  }

  /** Resolves when nothing of this worker is under way any more. */
  async #settle(): Promise<void> {
    const { small, scan } = this.#lanes;
    this.#feed?.close();
    await Promise.all([this.#polling, small.close(), scan.close()]);
    this.#bench.shutDown('scan');
    await Promise.all([this.#sweeping, small.idle(), scan.idle(), ...this.#errands]);
  }

  // Faults of MongoDB

  /** One line when MongoDB begins to fail, or fails in another way, and one when it answers again. */
  #report(error: unknown): void {
    if (this.#givingUp.signal.aborted) return;
    const fault = toMongoFault(error, 'working on requests');
    if (fault.message === this.#failing) return;
    this.#failing = fault.message;
    const level = isPassing(error) ? 'warn' : 'error';
    this.#options.logger[level]({ err: fault }, 'MongoDB does not do what requests need, they wait');
  }

  #answered(): void {
    if (this.#failing === undefined) return;
    this.#failing = undefined;
    this.#options.logger.info('MongoDB does what requests need again');
  }
}

const stopped = (): Fault => new Fault('shutdown', 'The process is stopping', { kind: 'retryable' });
