// The runs of this process: each claims one request and makes one attempt at it. A scan holds the scan lease
// meanwhile, and equal scans wait for it.
import type { Logger } from '../../base/logger.js';
import { Attempt, type AttemptEnd, type CommandRunner, type ValidClaim } from '../attempt.js';
import type { Claim, Claimed, Claims } from '../claims.js';
import { commandsOf, type LaneName } from '../commands.js';
import { commandLabel, type RequestsObserver } from '../observer.js';
import type { RequestId } from '../request.js';
import type { HeldScanLease, ScanLease } from '../scan-lease.js';
import type { RequestSteps } from '../steps.js';
import type { EqualScans } from '../upkeep/equal-scans.js';
import { keyOf, Refusals } from '../upkeep/guarded-updates.js';
import type { Insertions } from './insertions.js';
import type { OutageLog } from './outage.js';

export interface RunsOptions {
  readonly claims: Claims;
  readonly insertions: Pick<Insertions, 'isCatchingUp' | 'orderOf'>;
  readonly steps: RequestSteps;
  readonly scanLease: ScanLease;
  readonly equalScans: EqualScans;
  readonly runner: CommandRunner;
  readonly logger: Logger;
  readonly observer: RequestsObserver;
  readonly outage: OutageLog;
  /** Chance for back-off, 0 to 1. */
  readonly random: () => number;
  /** Aborted when the process stops: a scan that is claimed just then stops at once. */
  readonly stopping: AbortSignal;
  /** Aborted when even writing a verdict must stop. */
  readonly givingUp: AbortSignal;
}

/** A request that may be claimed. */
export interface Candidate {
  readonly id: RequestId;
  /** When it began to wait, by the database's clock; known only for requests from the change stream. */
  readonly wokenAt: Date | undefined;
}

/** Makes the attempt at what was claimed. Never throws. */
export type Run = () => Promise<AttemptEnd>;

const commandsIn = { small: commandsOf('small'), scan: commandsOf('scan') };

export class Runs {
  readonly #options: RunsOptions;
  readonly #refusals: Refusals;
  /** Attempts under way, by the id of their request. */
  readonly #attempts = new Map<string, { readonly attempt: Attempt; readonly lane: LaneName }>();
  /** Claims in progress, and whether the request was cancelled since. */
  readonly #claiming = new Map<string, { isCancelled: boolean }>();

  constructor(options: RunsOptions) {
    this.#options = options;
    this.#refusals = new Refusals(options.logger);
  }

  /** Attempts under way. */
  get count(): number {
    return this.#attempts.size;
  }

  /** The oldest that wait for a lane; at least `limit`, if there are so many. */
  async find(lane: LaneName, limit: number): Promise<readonly Candidate[]> {
    const { claims, insertions } = this.#options;
    const ids = await claims.claimable(commandsIn[lane], limit, {
      except: this.#refusals.ids(),
      onlyStamped: lane === 'small' && insertions.isCatchingUp,
    });
    return ids.map((id) => ({ id, wokenAt: undefined }));
  }

  /** Why MongoDB has lately refused the claim; undefined if it has not. */
  refusalOf(id: RequestId): unknown {
    return this.#refusals.of(id);
  }

  /**
   * Claims the request. `taken`: another process was quicker, or it no longer waits. `rest`: another process
   * scans.
   * @param signal of a caller who may want the request released
   */
  async claim(
    lane: LaneName,
    { id, wokenAt }: Candidate,
    signal?: AbortSignal,
  ): Promise<Run | 'taken' | 'rest'> {
    if (lane === 'small') {
      const claimed = await this.#claim(id, lane);
      return claimed ? () => this.#attempt(claimed, { lane, wokenAt, signal }) : 'taken';
    }
    const lease = await this.#options.scanLease.acquire();
    if (!lease) return 'rest';
    let claimed: Claimed | undefined;
    try {
      claimed = await this.#claim(id, lane);
    } finally {
      if (!claimed) await this.#releaseLease(lease);
    }
    const scan = claimed;
    return scan ? () => this.#scan(lease, scan, { lane, wokenAt, signal }) : 'taken';
  }

  /**
   * Stops the attempt at its next checkpoint, so that the request ends `cancelled`; false when none is under
   * way here (yet).
   */
  cancel(id: RequestId): boolean {
    const key = keyOf(id);
    const running = this.#attempts.get(key);
    running?.attempt.cancel();
    const claiming = this.#claiming.get(key);
    if (claiming) claiming.isCancelled = true;
    return running !== undefined;
  }

  /** Stops the attempt, if one is under way here; the request waits again. */
  release(id: RequestId): void {
    this.#attempts.get(keyOf(id))?.attempt.release();
  }

  /** Stops all attempts of a lane; their requests wait again. */
  releaseAll(lane: LaneName): void {
    for (const each of this.#attempts.values()) if (each.lane === lane) each.attempt.release();
  }

  /** A request that MongoDB refuses to update, for any reason, must not block the others. */
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

  async #scan(lease: HeldScanLease, claimed: Claimed, conditions: Conditions): Promise<AttemptEnd> {
    const { equalScans, outage } = this.#options;
    const { id } = claimed.claim;
    try {
      if (claimed.kind === 'valid' && claimed.command.command === 'syncAll') {
        // If this fails, the others scan for themselves.
        await equalScans
          .join(id, claimed.command.object, claimed.dryRun)
          .catch((error: unknown) => outage.report(error));
      }
      const end = await this.#attempt(claimed, conditions, lease);
      if (end.kind !== 'ended') return end;
      // When this fails the sweep does it.
      const released = await equalScans.settle(id).catch((error: unknown) => outage.report(error));
      return { kind: 'ended', releasedScans: (released ?? 0) > 0 };
    } finally {
      await this.#releaseLease(lease);
    }
  }

  async #releaseLease(lease: HeldScanLease): Promise<void> {
    const { scanLease, givingUp, outage } = this.#options;
    await scanLease.release(lease, givingUp).catch((error: unknown) => outage.report(error));
  }

  async #attempt(claimed: Claimed, conditions: Conditions, lease?: HeldScanLease): Promise<AttemptEnd> {
    const { claim } = claimed;
    const { lane, wokenAt } = conditions;
    const key = keyOf(claim.id);
    const isCancelled = this.#claiming.get(key)?.isCancelled === true;
    this.#claiming.delete(key);
    const command = commandLabel(claim.command);
    this.#options.observer.requestClaimed({ command, lane, waitSeconds: waitOf(claim, wokenAt) });
    if (claimed.kind === 'invalid') return this.#refuse(claim, claimed.faults);
    const attempt = this.#attemptAt(claimed, lease);
    this.#attempts.set(key, { attempt, lane });
    if (isCancelled) attempt.cancel();
    // Claimed while the stop began.
    const isStopping = this.#options.stopping.aborted && lane === 'scan';
    if (isStopping || conditions.signal?.aborted) attempt.release();
    try {
      return await attempt.make();
    } finally {
      if (this.#attempts.get(key)?.attempt === attempt) this.#attempts.delete(key);
    }
  }

  #attemptAt(claimed: ValidClaim, lease: HeldScanLease | undefined): Attempt {
    const { scanLease } = this.#options;
    const { id } = claimed.claim;
    return new Attempt(
      claimed,
      this.#options,
      lease && { untilMs: lease.untilMs, renew: () => scanLease.renew(lease, id) },
    );
  }

  async #refuse(claim: Claim, faults: readonly string[]): Promise<AttemptEnd> {
    const { steps, observer, logger, outage, givingUp } = this.#options;
    const error = { code: 'invalid_request', message: faults.join('; '), faults } as const;
    const command = commandLabel(claim.command);
    try {
      const ending = { status: 'failed', error } as const;
      if ((await steps.finish(claim, claim.attempt, ending, givingUp)) === 'lost') return { kind: 'lost' };
    } catch (fault) {
      outage.report(fault);
      return { kind: 'lost' };
    }
    const { code } = error;
    observer.requestEnded({ command, status: 'failed', code, seconds: 0, result: undefined, count: 1 });
    logger.warn({ requestId: claim.id, command, error }, 'Request refused');
    return { kind: 'ended' };
  }
}

interface Conditions {
  readonly lane: LaneName;
  readonly wokenAt: Date | undefined;
  readonly signal: AbortSignal | undefined;
}

/** An ObjectId holds whole seconds: without the time from the stream, the middle of the second is used. */
function waitOf({ claimedAt, insertedAt, dueAt }: Claim, wokenAt: Date | undefined): number {
  const told = wokenAt ?? (dueAt && dueAt > insertedAt ? dueAt : new Date(insertedAt.getTime() + 500));
  // Only the stream knows when a request was requeued by hand.
  const since = dueAt || wokenAt ? Math.max(told.getTime(), dueAt?.getTime() ?? 0) : claimedAt.getTime();
  return Math.max(0, (claimedAt.getTime() - since) / 1_000);
}
