// The worker of one process: wake-ups and the slow poll in, claims in two lanes, runs, and a stop that loses nothing.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, mongo } from 'mongoose';
import { Fault, isFault } from '../errors.js';
import type { Logger } from '../logger.js';
import { coalesceInto } from './coalesce.js';
import { typedRequestsOf } from './collection.js';
import { commandsOf, type LaneName, laneOf } from './commands.js';
import { isEndStatus, type RequestId, type SyncRequestDocument } from './document.js';
import { type FeedEvent, RequestFeed } from './feed.js';
import { Housekeeping } from './housekeeping.js';
import { type Job, Lane } from './lane.js';
import { isPassing, toMongoFault } from './mongo-faults.js';
import { commandLabel, type RequestsObserver, silentRequestsObserver } from './observer.js';
import { type Claim, type Claimed, RequestQueue, type RequestsSettings } from './queue.js';
import { RequestRun, type RunEnd, type ValidClaim } from './run.js';
import type { CommandRunner } from './runner.js';
import { ScanLease, type ScanRight } from './scan-lease.js';

export type { CommandRunner, RunContext } from './runner.js';

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

interface Wake {
  readonly id: RequestId;
  readonly insertedAt: Date | undefined;
}

interface Work {
  readonly lane: LaneName;
  readonly right?: ScanRight | undefined;
  /** By the change stream, which knows it better than the ObjectId. */
  readonly insertedAt?: Date | undefined;
  /** Of a caller who may want it stopped. */
  readonly signal?: AbortSignal | undefined;
}

const smallCommands = commandsOf('small');
const scanCommands = commandsOf('scan');

/** Steps for single requests that may be under way at once; the poll does what is beyond. */
const maxErrands = 20;

export class RequestWorker {
  readonly #options: WorkerOptions;
  readonly #observer: RequestsObserver;
  readonly #queue: RequestQueue;
  readonly #housekeeping: Housekeeping;
  readonly #scanLease: ScanLease;
  readonly #feed: RequestFeed | undefined;
  readonly #lanes: { readonly small: Lane<Wake>; readonly scan: Lane<Wake> };
  /** Runs of this process by the id of their request. */
  readonly #runs = new Map<string, { readonly run: RequestRun; readonly lane: LaneName }>();
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
    this.#scanLease = new ScanLease(connection, owner, settings.leaseMs);
    this.#feed =
      options.feed === false
        ? undefined
        : new RequestFeed({ connection, logger, onEvent: (event) => this.#onFeed(event) });
    const onError = (error: unknown): void => this.#report(error);
    this.#lanes = {
      small: new Lane({ capacity: settings.concurrency, next: (wake) => this.#nextSmall(wake), onError }),
      scan: new Lane({ capacity: 1, next: () => this.#nextScan(), onError }),
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
    this.#shutDown('scan');
    if (!(await within(quiet, withinMs * 0.6))) {
      this.#shutDown('small');
      if (!(await within(quiet, untilMs - performance.now()))) this.#givingUp.abort(stopped());
    }
    return { left: this.#runs.size };
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
    const onAbort = (): void => this.#runs.get(keyOf(id))?.run.shutDown();
    signal.addEventListener('abort', onAbort);
    try {
      for (;;) {
        signal.throwIfAborted();
        const found = await typedRequestsOf(connection).findOne(
          { _id: id },
          { projection: { batch: 0, ids: 0 } },
        );
        if (!found) throw new Fault('not_found', `There is no request ${String(id)}`, { kind: 'terminal' });
        if (isEndStatus(found.status)) return found;
        const end = await this.#runNow(id, found.command, signal);
        if (end?.kind === 'waits' && end.fatal) throw end.fatal;
        if (end?.kind !== 'ended')
          await sleep(Math.min(settings.pollIntervalMs, 1_000), undefined, { signal });
      }
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw toMongoFault(error, 'working on a request');
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #runNow(id: RequestId, command: unknown, signal: AbortSignal): Promise<RunEnd | undefined> {
    const only = { _id: { $eq: id } };
    await this.#housekeeping.recover(signal, only);
    await this.#housekeeping.endCancelled(signal, only);
    await this.#housekeeping.failOdd(signal, only);
    const label = commandLabel(command);
    if (label === 'unknown') return undefined;
    if (laneOf[label] === 'scan') return this.#scanNow(id, signal);
    const claimed = await this.#queue.claimById(id, smallCommands);
    return claimed && this.#work(claimed, { lane: 'small', signal });
  }

  // Wake-ups

  #onFeed(event: FeedEvent): void {
    if (event.kind === 'opened') {
      this.#look();
    } else if (event.kind === 'cancel') {
      this.#cancel(event.id);
    } else {
      const { id, lane, insertedAt } = event;
      const only = { _id: { $eq: id } };
      if (lane === 'odd') this.#errand(() => this.#housekeeping.failOdd(this.#stopping.signal, only));
      if (lane === 'small' || lane === undefined) this.#lanes.small.wake({ id, insertedAt });
      if (lane === 'scan' || lane === undefined) this.#lanes.scan.look();
    }
  }

  #cancel(id: RequestId): void {
    const running = this.#runs.get(keyOf(id));
    if (running) running.run.cancel();
    else this.#errand(() => this.#housekeeping.endCancelled(this.#stopping.signal, { _id: { $eq: id } }));
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
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #sweep(): Promise<void> {
    try {
      const recovered = await this.#housekeeping.sweep(this.#stopping.signal);
      if (recovered > 0) this.#look();
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

  // Claims

  async #nextSmall(wake: Wake | undefined): Promise<Job | undefined> {
    const claimed = wake
      ? await this.#queue.claimById(wake.id, smallCommands)
      : await this.#claimOldest(smallCommands);
    if (!claimed) return undefined;
    const insertedAt = wake?.insertedAt;
    return async () => this.#told(await this.#work(claimed, { lane: 'small', insertedAt }));
  }

  /** Whether a scan waits is asked first: the right to scan is not written to by everybody all the time. */
  async #nextScan(): Promise<Job | undefined> {
    const [waits] = await this.#queue.claimableIds(scanCommands, 1);
    if (waits === undefined) return undefined;
    const right = await this.#scanLease.acquire();
    if (!right) return undefined;
    const claimed = await this.#claimWith(right, () => this.#claimOldest(scanCommands));
    return claimed && (async () => this.#told(await this.#workWith(right, claimed)));
  }

  async #scanNow(id: RequestId, signal: AbortSignal): Promise<RunEnd | undefined> {
    const right = await this.#scanLease.acquire();
    if (!right) return undefined;
    const claimed = await this.#claimWith(right, () => this.#queue.claimById(id, scanCommands));
    return claimed && this.#workWith(right, claimed, signal);
  }

  /** Gives the right back when there is nothing to scan. */
  async #claimWith(
    right: ScanRight,
    claim: () => Promise<Claimed | undefined>,
  ): Promise<Claimed | undefined> {
    let claimed: Claimed | undefined;
    try {
      claimed = await claim();
    } finally {
      if (!claimed) await this.#releaseRight(right);
    }
    return claimed;
  }

  async #workWith(right: ScanRight, claimed: Claimed, signal?: AbortSignal): Promise<RunEnd> {
    try {
      // Only at its first claim: one that goes on has read customers before the others were asked for.
      if (claimed.kind === 'valid' && claimed.command.command === 'syncAll' && claimed.claim.fence === 1) {
        await this.#coalesce(claimed);
      }
      return await this.#work(claimed, { lane: 'scan', right, signal });
    } finally {
      await this.#releaseRight(right);
    }
  }

  async #releaseRight(right: ScanRight): Promise<void> {
    await this.#scanLease
      .release(right, this.#givingUp.signal)
      .catch((error: unknown) => this.#report(error));
  }

  /** Others that wait for the same scan end with this one. When that fails they scan for themselves. */
  async #coalesce({ claim, dryRun }: ValidClaim): Promise<void> {
    try {
      const { connection, logger } = this.#options;
      const count = await coalesceInto(connection, this.#queue.settings, claim.id, dryRun);
      if (count === 0) return;
      this.#observer.requestEnded({
        command: 'syncAll',
        status: 'coalesced',
        seconds: undefined,
        result: undefined,
        count,
      });
      logger.info({ requestId: claim.id, count }, 'Equal requests coalesced');
    } catch (error) {
      this.#report(error);
    }
  }

  /** One that MongoDB refuses to update, for whatever reason, must not stand in the way of the others. */
  async #claimOldest(commands: readonly string[]): Promise<Claimed | undefined> {
    try {
      return await this.#queue.claimOldest(commands);
    } catch (error) {
      if (isPassing(error) || isFault(error)) throw error;
      this.#report(error);
      for (const id of await this.#queue.claimableIds(commands, 100)) {
        const claimed = await this.#queue.claimById(id, commands).catch((refused: unknown) => {
          if (isPassing(refused)) throw refused;
          this.#options.logger.error({ err: refused, requestId: id }, 'MongoDB refuses to update a request');
        });
        if (claimed) return claimed;
      }
      return undefined;
    }
  }

  // Runs

  async #work(claimed: Claimed, { lane, right, insertedAt, signal }: Work): Promise<RunEnd> {
    const { claim } = claimed;
    this.#observer.requestClaimed({
      command: commandLabel(claim.command),
      waitSeconds: waitOf(claim, insertedAt),
    });
    if (claimed.kind === 'invalid') return this.#refuse(claim, claimed.faults);
    const { runner, logger, random = Math.random } = this.#options;
    const run = new RequestRun(
      claimed,
      { queue: this.#queue, runner, logger, observer: this.#observer, random, giveUp: this.#givingUp.signal },
      right && { untilMs: right.untilMs, renew: () => this.#scanLease.renew(right, claim.id) },
    );
    const key = keyOf(claim.id);
    this.#runs.set(key, { run, lane });
    // Claimed while the stop began.
    if (signal?.aborted || (this.#stopping.signal.aborted && lane === 'scan')) run.shutDown();
    try {
      return await run.run();
    } finally {
      if (this.#runs.get(key)?.run === run) this.#runs.delete(key);
    }
  }

  async #refuse(claim: Claim, faults: readonly string[]): Promise<RunEnd> {
    const error = { code: 'invalid_request', message: faults.join('; '), faults } as const;
    const command = commandLabel(claim.command);
    try {
      const ending = { status: 'failed', error } as const;
      const holding = await this.#queue.finish(claim, claim.attempt, ending, this.#givingUp.signal);
      if (holding === 'lost') return { kind: 'lost' };
      this.#observer.requestEnded({ command, status: 'failed', seconds: 0, result: undefined, count: 1 });
      this.#options.logger.warn({ requestId: claim.id, command, error }, 'Request refused');
      return { kind: 'ended' };
    } catch (fault) {
      this.#report(fault);
      return { kind: 'lost' };
    }
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

  #shutDown(lane: LaneName): void {
    for (const each of this.#runs.values()) if (each.lane === lane) each.run.shutDown();
  }

  /** Resolves when nothing of this worker is under way any more. */
  async #settle(): Promise<void> {
    const { small, scan } = this.#lanes;
    await Promise.all([this.#feed?.close(), this.#polling, small.close(), scan.close()]);
    this.#shutDown('scan');
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

/** Users choose the type of `_id`. */
const keyOf = (id: RequestId): string => mongo.BSON.EJSON.stringify({ id });

/** An ObjectId tells whole seconds: without the stream's word the middle of the second is taken. */
function waitOf({ claimedAt, insertedAt: byId, dueAt }: Claim, insertedAt: Date | undefined): number {
  const since = dueAt > byId ? dueAt.getTime() : (insertedAt?.getTime() ?? byId.getTime() + 500);
  return Math.max(0, (claimedAt.getTime() - since) / 1_000);
}

/** True when `promise` resolves within the time. */
async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const timeout = new AbortController();
  try {
    return await Promise.race([
      promise.then(() => true),
      sleep(Math.max(0, ms), false, { signal: timeout.signal }).catch(() => false),
    ]);
  } finally {
    timeout.abort();
  }
}
