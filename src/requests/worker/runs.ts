// Claims requests and works on them: what a lane asks for next, and what a command asks for at once. Knows all runs of this process.
import type { Logger } from '../../base/logger.js';
import { type CommandRunner, RequestRun, type RunEnd, type ValidClaim } from '../attempt.js';
import type { Claim, Claimed, Claims } from '../claims.js';
import { commandsOf, type LaneName, laneOf } from '../commands.js';
import { commandLabel, type RequestsObserver } from '../observer.js';
import type { RequestId } from '../request.js';
import type { ScanLease, ScanRight } from '../scan-lease.js';
import type { RequestQueue } from '../steps.js';
import type { Coalescing } from '../upkeep/equal-scans.js';
import { keyOf, Refusals } from '../upkeep/guarded-updates.js';

export interface WorkbenchOptions {
  readonly claims: Claims;
  readonly queue: RequestQueue;
  readonly scanLease: ScanLease;
  readonly coalescing: Coalescing;
  readonly runner: CommandRunner;
  readonly logger: Logger;
  readonly observer: RequestsObserver;
  /** Chance for back-off, 0 to 1. */
  readonly random: () => number;
  /** Aborted when the process stops: a scan that is claimed just then stops at once. */
  readonly stopping: AbortSignal;
  /** Aborted when even writing what became of a request must end. */
  readonly givingUp: AbortSignal;
  /** Scans that have waited for another one wait for themselves again. */
  readonly onReleased: () => void;
  /** MongoDB failed at something that is done again later. */
  readonly onError: (error: unknown) => void;
}

/** What woke a lane. */
export interface Wake {
  readonly id: RequestId;
  /** When it began to wait, by the database's clock; of those that the change stream told of. */
  readonly wokenAt: Date | undefined;
}

/** Works on what was claimed. Never throws. */
type Work = () => Promise<RunEnd>;

interface Circumstances {
  readonly lane: LaneName;
  readonly right?: ScanRight | undefined;
  /** When it began to wait by the change stream, which knows it better than the document. */
  readonly wokenAt?: Date | undefined;
  /** Of a caller who may want it stopped. */
  readonly signal?: AbortSignal | undefined;
}

const commandsIn = { small: commandsOf('small'), scan: commandsOf('scan') };

export class Workbench {
  readonly #options: WorkbenchOptions;
  readonly #queue: RequestQueue;
  /** By the id of their request. */
  readonly #runs = new Map<string, { readonly run: RequestRun; readonly lane: LaneName }>();

  readonly #refusals: Refusals;
  /** Claims under way, and whether somebody has meanwhile asked for the request's end. */
  readonly #claiming = new Map<string, { isCancelled: boolean }>();

  constructor(options: WorkbenchOptions) {
    this.#options = options;
    this.#queue = options.queue;
    this.#refusals = new Refusals(options.logger);
  }

  /** Runs under way. */
  get running(): number {
    return this.#runs.size;
  }

  /** Stops the run of this request at its next checkpoint, so that it ends `cancelled`; false when it does not run here (yet). */
  cancel(id: RequestId): boolean {
    const key = keyOf(id);
    const running = this.#runs.get(key);
    running?.run.cancel();
    const claiming = this.#claiming.get(key);
    if (claiming) claiming.isCancelled = true;
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
    const ids = await this.#options.claims.claimable(commandsIn[lane], limit, this.#refusals.ids());
    return ids.map((id) => ({ id, wokenAt: undefined }));
  }

  /** Claims one; undefined when it was taken by another or no longer waits. */
  async claimSmall({ id, wokenAt }: Wake): Promise<Work | undefined> {
    const claimed = await this.#claim(id, 'small');
    return claimed && (() => this.#work(claimed, { lane: 'small', wokenAt }));
  }

  /** Claims one together with the right to scan; `busy` while another process has the right. */
  async claimScan({ id, wokenAt }: Wake): Promise<Work | 'busy' | undefined> {
    const right = await this.#options.scanLease.acquire();
    if (!right) return 'busy';
    const claimed = await this.#claimWith(right, id);
    return claimed && (() => this.#workWith(right, claimed, { wokenAt }));
  }

  /** Claims this request and works on it; undefined when it cannot be claimed now. */
  async workOn(id: RequestId, command: unknown, signal: AbortSignal): Promise<RunEnd | undefined> {
    const label = commandLabel(command);
    if (label === 'unknown') return undefined;
    if (laneOf[label] === 'small') {
      const claimed = await this.#claim(id, 'small');
      return claimed && this.#work(claimed, { lane: 'small', signal });
    }
    const right = await this.#options.scanLease.acquire();
    const claimed = right && (await this.#claimWith(right, id));
    return claimed && this.#workWith(right, claimed, { signal });
  }

  /** One that MongoDB refuses to update, for whatever reason, must not stand in the way of the others. */
  async #claim(id: RequestId, lane: LaneName): Promise<Claimed | undefined> {
    const key = keyOf(id);
    let claimed: Claimed | undefined;
    this.#claiming.set(key, { isCancelled: false });
    try {
      claimed = await this.#refusals.unless(id, () => this.#options.claims.claim(id, commandsIn[lane]));
    } finally {
      if (!claimed) this.#claiming.delete(key);
    }
    return claimed;
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
      if (claimed.kind === 'valid' && claimed.command.command === 'syncAll') await this.#join(claimed);
      const end = await this.#work(claimed, { ...circumstances, lane: 'scan', right });
      if (end.kind === 'ended') await this.#settle(claimed.claim.id);
      return end;
    } finally {
      await this.#releaseRight(right);
    }
  }

  async #releaseRight(right: ScanRight): Promise<void> {
    await this.#options.scanLease
      .release(right, this.#options.givingUp)
      .catch((error: unknown) => this.#options.onError(error));
  }

  /** Others that wait for the same scan wait for this one. When that fails they scan for themselves. */
  async #join({ claim, dryRun }: ValidClaim): Promise<void> {
    await this.#options.coalescing
      .join(claim.id, dryRun)
      .catch((error: unknown) => this.#options.onError(error));
  }

  /** When that fails housekeeping does it. */
  async #settle(id: RequestId): Promise<void> {
    try {
      if ((await this.#options.coalescing.settle(id)) > 0) this.#options.onReleased();
    } catch (error) {
      this.#options.onError(error);
    }
  }

  async #work(claimed: Claimed, { lane, right, wokenAt, signal }: Circumstances): Promise<RunEnd> {
    const { claim } = claimed;
    const key = keyOf(claim.id);
    const isCancelled = this.#claiming.get(key)?.isCancelled === true;
    this.#claiming.delete(key);
    this.#options.observer.requestClaimed({
      command: commandLabel(claim.command),
      lane,
      waitSeconds: waitOf(claim, wokenAt),
    });
    if (claimed.kind === 'invalid') return this.#refuse(claim, claimed.faults);
    const { runner, logger, observer, random, givingUp } = this.#options;
    const run = new RequestRun(
      claimed,
      { queue: this.#queue, runner, logger, observer, random, giveUp: givingUp },
      right && { untilMs: right.untilMs, renew: () => this.#options.scanLease.renew(right, claim.id) },
    );
    this.#runs.set(key, { run, lane });
    if (isCancelled) run.cancel();
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

/** An ObjectId tells whole seconds: without the stream's word the middle of the second is taken. */
function waitOf({ claimedAt, insertedAt, dueAt }: Claim, wokenAt: Date | undefined): number {
  const told = wokenAt ?? (dueAt && dueAt > insertedAt ? dueAt : new Date(insertedAt.getTime() + 500));
  // Only the stream knows when a request was set back by hand.
  const since = dueAt || wokenAt ? Math.max(told.getTime(), dueAt?.getTime() ?? 0) : claimedAt.getTime();
  return Math.max(0, (claimedAt.getTime() - since) / 1_000);
}
