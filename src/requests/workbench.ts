// Claims requests and works on them: what a lane asks for next, and what a command asks for at once. Knows all runs of this process.
import { type Connection, mongo } from 'mongoose';
import { isFault } from '../errors.js';
import type { Logger } from '../logger.js';
import { coalesceInto } from './coalesce.js';
import { commandsOf, type LaneName, laneOf } from './commands.js';
import type { RequestId } from './document.js';
import { isPassing } from '../mongo-faults.js';
import { commandLabel, type RequestsObserver } from './observer.js';
import type { Claim, Claimed, RequestQueue } from './queue.js';
import { RequestRun, type RunEnd, type ValidClaim } from './run.js';
import type { CommandRunner } from './runner.js';
import type { ScanLease, ScanRight } from './scan-lease.js';

export interface WorkbenchOptions {
  readonly connection: Connection;
  readonly queue: RequestQueue;
  readonly scanLease: ScanLease;
  readonly runner: CommandRunner;
  readonly logger: Logger;
  readonly observer: RequestsObserver;
  /** Chance for back-off, 0 to 1. */
  readonly random: () => number;
  /** Aborted when the process stops: a scan that is claimed just then stops at once. */
  readonly stopping: AbortSignal;
  /** Aborted when even writing what became of a request must end. */
  readonly givingUp: AbortSignal;
  /** MongoDB failed at something that is done again later. */
  readonly onError: (error: unknown) => void;
}

/** What woke a lane. */
export interface Wake {
  readonly id: RequestId;
  readonly insertedAt: Date | undefined;
}

/** Works on what was claimed. Never throws. */
type Work = () => Promise<RunEnd>;

interface Circumstances {
  readonly lane: LaneName;
  readonly right?: ScanRight | undefined;
  /** By the change stream, which knows it better than the ObjectId. */
  readonly insertedAt?: Date | undefined;
  /** Of a caller who may want it stopped. */
  readonly signal?: AbortSignal | undefined;
}

const commandsIn = { small: commandsOf('small'), scan: commandsOf('scan') };

/** How long a request that MongoDB refuses to update is left alone. */
const refusedForMs = 60_000;
/** More than so many of them are no fault of theirs. */
const maxRefused = 100;

export class Workbench {
  readonly #options: WorkbenchOptions;
  readonly #queue: RequestQueue;
  /** By the id of their request. */
  readonly #runs = new Map<string, { readonly run: RequestRun; readonly lane: LaneName }>();

  readonly #refused = new Map<string, { readonly id: RequestId; readonly untilMs: number }>();

  constructor(options: WorkbenchOptions) {
    this.#options = options;
    this.#queue = options.queue;
  }

  /** Runs under way. */
  get running(): number {
    return this.#runs.size;
  }

  /** Stops the run of this request at its next checkpoint, so that it ends `cancelled`; false when it does not run here. */
  cancel(id: RequestId): boolean {
    const running = this.#runs.get(keyOf(id));
    running?.run.cancel();
    return running !== undefined;
  }

  /** Stops the run of this request, if it runs here; it waits again. */
  release(id: RequestId): void {
    this.#runs.get(keyOf(id))?.run.shutDown();
  }

  /** Stops all runs of a lane; they wait again. */
  shutDown(lane: LaneName): void {
    for (const each of this.#runs.values()) if (each.lane === lane) each.run.shutDown();
  }

  /** The oldest that wait for a lane; at least `limit`, if there are so many. */
  async find(lane: LaneName, limit: number): Promise<readonly Wake[]> {
    const ids = await this.#queue.claimable(commandsIn[lane], limit, this.#refusedIds());
    return ids.map((id) => ({ id, insertedAt: undefined }));
  }

  /** Claims one; undefined when it was taken by another or no longer waits. */
  async claimSmall({ id, insertedAt }: Wake): Promise<Work | undefined> {
    const claimed = await this.#claim(id, 'small');
    return claimed && (() => this.#work(claimed, { lane: 'small', insertedAt }));
  }

  /** Claims one together with the right to scan; `busy` while another process has the right. */
  async claimScan({ id, insertedAt }: Wake): Promise<Work | 'busy' | undefined> {
    const right = await this.#options.scanLease.acquire();
    if (!right) return 'busy';
    const claimed = await this.#claimWith(right, id);
    return claimed && (() => this.#workWith(right, claimed, { insertedAt }));
  }

  /** Claims this request and works on it; undefined when it cannot be claimed now. */
  async workOn(id: RequestId, command: unknown, signal: AbortSignal): Promise<RunEnd | undefined> {
    const label = commandLabel(command);
    if (label === 'unknown') return undefined;
    if (laneOf[label] === 'small') {
      const claimed = await this.#queue.claim(id, commandsIn.small);
      return claimed && this.#work(claimed, { lane: 'small', signal });
    }
    const right = await this.#options.scanLease.acquire();
    const claimed = right && (await this.#claimWith(right, id));
    return claimed && this.#workWith(right, claimed, { signal });
  }

  /** One that MongoDB refuses to update, for whatever reason, must not stand in the way of the others. */
  async #claim(id: RequestId, lane: LaneName): Promise<Claimed | undefined> {
    try {
      return await this.#queue.claim(id, commandsIn[lane]);
    } catch (error) {
      if (isPassing(error) || isFault(error) || this.#refused.size >= maxRefused) throw error;
      this.#refused.set(keyOf(id), { id, untilMs: performance.now() + refusedForMs });
      this.#options.logger.error({ err: error, requestId: id }, 'MongoDB refuses to update a request');
      return undefined;
    }
  }

  /** To be left alone for now. */
  #refusedIds(): readonly RequestId[] {
    for (const [key, { untilMs }] of this.#refused)
      if (untilMs < performance.now()) this.#refused.delete(key);
    return [...this.#refused.values()].map(({ id }) => id);
  }

  /** Gives the right back when there is nothing to scan. */
  async #claimWith(right: ScanRight, id: RequestId): Promise<Claimed | undefined> {
    let claimed: Claimed | undefined;
    try {
      claimed = await this.#claim(id, 'scan');
    } finally {
      if (!claimed) await this.#releaseRight(right);
    }
    return claimed;
  }

  async #workWith(
    right: ScanRight,
    claimed: Claimed,
    circumstances: Omit<Circumstances, 'lane' | 'right'>,
  ): Promise<RunEnd> {
    try {
      // Only at its first claim: one that goes on has read customers before the others were asked for.
      if (claimed.kind === 'valid' && claimed.command.command === 'syncAll' && claimed.claim.fence === 1) {
        await this.#coalesce(claimed);
      }
      return await this.#work(claimed, { ...circumstances, lane: 'scan', right });
    } finally {
      await this.#releaseRight(right);
    }
  }

  async #releaseRight(right: ScanRight): Promise<void> {
    await this.#options.scanLease
      .release(right, this.#options.givingUp)
      .catch((error: unknown) => this.#options.onError(error));
  }

  /** Others that wait for the same scan end with this one. When that fails they scan for themselves. */
  async #coalesce({ claim, dryRun }: ValidClaim): Promise<void> {
    try {
      const { connection, logger } = this.#options;
      const count = await coalesceInto(connection, this.#queue.settings, claim.id, dryRun);
      if (count === 0) return;
      this.#options.observer.requestEnded({
        command: 'syncAll',
        status: 'coalesced',
        seconds: undefined,
        result: undefined,
        count,
      });
      logger.info({ requestId: claim.id, count }, 'Equal requests coalesced');
    } catch (error) {
      this.#options.onError(error);
    }
  }

  async #work(claimed: Claimed, { lane, right, insertedAt, signal }: Circumstances): Promise<RunEnd> {
    const { claim } = claimed;
    this.#options.observer.requestClaimed({
      command: commandLabel(claim.command),
      lane,
      waitSeconds: waitOf(claim, insertedAt),
    });
    if (claimed.kind === 'invalid') return this.#refuse(claim, claimed.faults);
    const { runner, logger, observer, random, givingUp } = this.#options;
    const run = new RequestRun(
      claimed,
      { queue: this.#queue, runner, logger, observer, random, giveUp: givingUp },
      right && { untilMs: right.untilMs, renew: () => this.#options.scanLease.renew(right, claim.id) },
    );
    const key = keyOf(claim.id);
    this.#runs.set(key, { run, lane });
    // Claimed while the stop began.
    if (signal?.aborted || (this.#options.stopping.aborted && lane === 'scan')) run.shutDown();
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
      const holding = await this.#queue.finish(claim, claim.attempt, ending, this.#options.givingUp);
      if (holding === 'lost') return { kind: 'lost' };
      this.#options.observer.requestEnded({
        command,
        status: 'failed',
        code: error.code,
        seconds: 0,
        result: undefined,
        count: 1,
      });
      this.#options.logger.warn({ requestId: claim.id, command, error }, 'Request refused');
      return { kind: 'ended' };
    } catch (fault) {
      this.#options.onError(fault);
      return { kind: 'lost' };
    }
  }
}

/** Users choose the type of `_id`. */
const keyOf = (id: RequestId): string => mongo.BSON.EJSON.stringify({ id });

/** An ObjectId tells whole seconds: without the stream's word the middle of the second is taken. */
function waitOf({ claimedAt, insertedAt: byId, dueAt }: Claim, insertedAt: Date | undefined): number {
  const since = dueAt > byId ? dueAt.getTime() : (insertedAt?.getTime() ?? byId.getTime() + 500);
  return Math.max(0, (claimedAt.getTime() - since) / 1_000);
}
