// One attempt at one request: keeps the lease, writes progress, acts on a cancellation, and writes the
// verdict.
import { Fault, isFault } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { endWaits, pause } from '../base/waiting.js';
import type { Progress, SyncResult } from '../sync/outcome.js';
import { loggedId } from '../sync/ports.js';
import type { InsertionOrder } from '../sync/telling.js';
import type { Claim, Claimed } from './claims.js';
import { laneOf, type SyncCommand } from './commands.js';
import { orderOf } from './insertion.js';
import { commandLabel, type RequestsObserver } from './observer.js';
import type { RequestId, StoredProgress } from './request.js';
import type { Ending, Holding, RequestSteps } from './steps.js';
import { type AttemptOutcome, judge, type Verdict } from './verdict.js';

export type ValidClaim = Extract<Claimed, { kind: 'valid' }>;

/** A second lease that the attempt must hold: the right to scan. */
export interface SecondLease {
  /** `performance.now()` until which it certainly holds. */
  readonly untilMs: number;
  /** False when it is lost. */
  renew(): Promise<boolean>;
}

export interface AttemptDependencies {
  readonly steps: RequestSteps;
  readonly runner: CommandRunner;
  readonly insertions: { orderOf(claim: Claim, signal: AbortSignal): Promise<InsertionOrder> };
  readonly logger: Logger;
  readonly observer: RequestsObserver;
  readonly random: () => number;
  /** Aborted when even writing the verdict must end. */
  readonly givingUp: AbortSignal;
}

/**
 * How an attempt ended: the request has a final status, is pending again, or now belongs to another holder.
 */
export type AttemptEnd =
  /** `releasedScans`: whether equal scans that waited for this one must now run themselves. */
  | { readonly kind: 'ended'; readonly releasedScans?: boolean }
  | { readonly kind: 'waits'; readonly delayMs: number; readonly fatal: Fault | undefined }
  | { readonly kind: 'lost' };

const progressEveryMs = 1_000;

export class Attempt {
  readonly #abort = new AbortController();
  readonly #meter = new ProgressMeter();
  readonly #logger: Logger;
  #attempt: number;
  #leaseUntilMs: number;
  /** A separate signal, because an attempt that is being stopped may still lose its lease. */
  #loss: Fault | undefined;
  #hasNews = false;
  #isCheckpointNew = false;

  constructor(
    private readonly claimed: ValidClaim,
    private readonly dependencies: AttemptDependencies,
    private readonly secondLease?: SecondLease,
  ) {
    const { claim, command } = claimed;
    this.#attempt = claim.attempt;
    this.#leaseUntilMs = Math.min(claim.leaseUntilMs, secondLease?.untilMs ?? Infinity);
    this.#logger = dependencies.logger.child({
      requestId: claim.id,
      command: command.command,
      attempt: claim.attempt,
    });
  }

  /** Stops the attempt at its next checkpoint: the request ends `cancelled`. */
  cancel(): void {
    this.#abort.abort(new Fault('cancelled', 'Cancelled by request'));
  }

  /** Stops the attempt at its next checkpoint, and the request waits for another process. */
  release(): void {
    this.#abort.abort(new Fault('shutdown', 'The process that ran it was stopped'));
  }

  /**
   * Runs the command and writes the verdict. Never throws. If the verdict cannot be written, a sweep recovers
   * the request when its lease has expired.
   */
  async make(): Promise<AttemptEnd> {
    const { runner } = this.dependencies;
    const stop = new AbortController();
    const watch = this.#watchLease(stop.signal);
    const heartbeat = this.#keepLease(stop.signal);
    // Small requests start at debug level: there may be hundreds a second, and the end of each is logged
    // anyway.
    const isOneOfMany = laneOf[this.claimed.command.command] === 'small' && this.#attempt === 1;
    this.#logger[isOneOfMany ? 'debug' : 'info']('Request started');
    const startedMs = performance.now();
    let outcome: AttemptOutcome;
    try {
      outcome = { result: await runner.run(this.claimed.command, await this.#context()) };
    } catch (error) {
      outcome = { error };
    }
    endWaits(stop);
    await watch;
    const end = await this.#conclude(outcome, (performance.now() - startedMs) / 1_000);
    await heartbeat;
    return end;
  }

  async #context(): Promise<CommandContext> {
    const { claim, command, dryRun } = this.claimed;
    const isBatch = command.command === 'syncBatch';
    const { insertions } = this.dependencies;
    return {
      requestId: claim.id,
      attempt: claim.attempt,
      claimedAt: claim.claimedAt,
      insertionOrder: isBatch
        ? await insertions.orderOf(claim, this.#abort.signal)
        : orderOf(claim, undefined),
      dryRun,
      logger: this.#logger,
      signal: this.#abort.signal,
      assertHeld: () => this.#assertHeld(),
      onProgress: (progress) => {
        this.#meter.report(progress, performance.now());
        this.#hasNews = true;
        if (command.command === 'syncAll') this.dependencies.observer.scanProgressed(ratioOf(progress));
      },
      onCheckpoint: () => {
        this.#attempt = 1;
        this.#isCheckpointNew = true;
        this.#hasNews = true;
      },
    };
  }

  #lose(message: string): void {
    this.#loss ??= new Fault('lease_lost', message);
    this.#abort.abort(this.#loss);
  }

  #assertHeld(): void {
    if (performance.now() >= this.#leaseUntilMs) this.#lose('The lease could not be renewed in time');
    if (this.#loss) throw this.#loss;
  }

  /**
   * Renews the lease every third of its length, and once a second while there is progress to write. A failed
   * renewal is repeated until the lease has expired.
   */
  async #keepLease(signal: AbortSignal): Promise<void> {
    const { leaseMs } = this.dependencies.steps.settings;
    const everyMs = leaseMs / 3;
    const newsEveryMs = Math.min(progressEveryMs, everyMs);
    // The lease started when the claim was sent, so a slow claim has used up some of it.
    let renewedMs = this.claimed.claim.leaseUntilMs - leaseMs;
    while (await pause(newsEveryMs, signal)) {
      const sentMs = performance.now();
      const isNewsDue = this.#hasNews && sentMs - renewedMs >= progressEveryMs * 0.95;
      if (!isNewsDue && sentMs - renewedMs < everyMs * 0.95) continue;
      try {
        await this.#renew(sentMs);
        renewedMs = sentMs;
      } catch (error) {
        this.#logger.warn({ err: error }, 'Lease not renewed; retrying');
      }
      if (this.#loss) return;
    }
  }

  async #renew(sentMs: number): Promise<void> {
    const { steps } = this.dependencies;
    const progress = this.#hasNews ? this.#meter.current(sentMs) : undefined;
    const attempts = this.#isCheckpointNew ? this.#attempt : undefined;
    this.#hasNews = false;
    const [holding, isSecondHeld] = await Promise.all([
      steps.renew(this.claimed.claim, { progress, attempts }),
      this.secondLease?.renew() ?? true,
    ]);
    if (holding === 'lost' || !isSecondHeld) {
      this.#lose('The request was taken over, requeued or removed while it ran');
      return;
    }
    if (attempts !== undefined) this.#isCheckpointNew = false;
    this.#leaseUntilMs = sentMs + steps.settings.leaseMs;
    if (holding === 'cancel') this.cancel();
  }

  /**
   * Gives up the attempt when its lease has expired by this process's monotonic clock. From then on another
   * process may hold the request.
   */
  async #watchLease(signal: AbortSignal): Promise<void> {
    for (;;) {
      const leftMs = this.#leaseUntilMs - performance.now();
      if (leftMs <= 0) {
        this.#lose('The lease could not be renewed in time');
        return;
      }
      if (!(await pause(leftMs, signal))) return;
    }
  }

  async #conclude(outcome: AttemptOutcome, seconds: number): Promise<AttemptEnd> {
    const { steps, random } = this.dependencies;
    const { retryBaseMs, retryMaxMs } = steps.settings;
    if (this.claimed.command.command === 'syncAll') this.dependencies.observer.scanProgressed(undefined);
    const verdict = judge({
      command: this.claimed.command,
      outcome,
      abortedBy: this.#loss ?? abortReason(this.#abort.signal),
      attempt: this.#attempt,
      maxAttempts: this.claimed.maxAttempts,
      backoff: { baseMs: retryBaseMs, maxMs: retryMaxMs },
      random,
    });
    this.#logThrown(outcome);
    try {
      if (verdict.kind !== 'lost' && (await this.#write(verdict)) !== 'lost')
        return this.#tell(verdict, seconds);
      this.#logger.warn('Another process holds the request now; nothing was written');
    } catch (error) {
      this.#logger.error({ err: error }, 'The verdict on the request could not be written');
    }
    return { kind: 'lost' };
  }

  async #write(verdict: Exclude<Verdict, { kind: 'lost' }>): Promise<Holding> {
    const { steps, givingUp } = this.dependencies;
    const { claim } = this.claimed;
    return verdict.kind === 'finish'
      ? steps.finish(claim, this.#attempt, verdict.ending, givingUp)
      : steps.requeue(claim, this.#attempt, verdict, givingUp);
  }

  #tell(verdict: Exclude<Verdict, { kind: 'lost' }>, seconds: number): AttemptEnd {
    if (verdict.kind === 'finish') {
      const { status, result, error } = verdict.ending;
      const { dryRun, command } = this.claimed;
      this.dependencies.observer.requestEnded({
        command: commandLabel(command.command),
        status,
        code: error?.code,
        seconds,
        result: dryRun ? undefined : result,
        object: command.object,
        count: 1,
      });
      const counts = result && { ...result, items: undefined };
      const level = status === 'failed' ? 'warn' : 'info';
      this.#logger[level](
        { status, seconds, result: counts, error: loggedError(error, result) },
        'Request ended',
      );
      return { kind: 'ended' };
    }
    const { kind, error, delayMs } = verdict;
    if (kind === 'release') this.#logger.info({ error }, 'Request released');
    else if (kind === 'retry') this.#logger.warn({ delayMs, error }, 'Request will be retried');
    else this.#logger.warn({ delayMs, error }, 'Request held');
    return { kind: 'waits', delayMs, fatal: kind === 'release' ? verdict.fatal : undefined };
  }

  /** An unclassified error is a defect, so its stack is logged. */
  #logThrown(outcome: AttemptOutcome): void {
    if ('error' in outcome && !isFault(outcome.error))
      this.#logger.error({ err: outcome.error }, 'Unexpected error');
  }
}

/** The error of a request names the id of its only item, which may be personal data: the log has its hash. */
function loggedError(error: Ending['error'], result: SyncResult | undefined): Ending['error'] {
  const named = result?.items.find(({ id }) => error?.message.startsWith(`${id}: `));
  if (!error || !named) return error;
  return { ...error, message: `${loggedId(named.id)}${error.message.slice(named.id.length)}` };
}

/** Attempts are aborted with a Fault and nothing else. */
const abortReason = (signal: AbortSignal): Fault | undefined =>
  signal.aborted && isFault(signal.reason) ? signal.reason : undefined;

// The interface between the worker and the code that runs a command. daemon.ts joins the two.
export interface CommandContext {
  readonly requestId: RequestId;
  /** 1, 2, … */
  readonly attempt: number;
  /** By MongoDB's clock. */
  readonly claimedAt: Date;
  /** Where its insertion stands; never later than the claim. Only batches need it: others have no event. */
  readonly insertionOrder: InsertionOrder;
  readonly dryRun: boolean;
  /** Its lines name the request. */
  readonly logger: Logger;
  /**
   * Aborted with a `Fault`: `cancelled` and `shutdown` leave time for a last checkpoint; after `lease_lost`
   * the request is somebody else's.
   */
  readonly signal: AbortSignal;
  /**
   * Must be called right before each write to the mirror. Throws the Fault `lease_lost` once another process
   * may work on the request. The signal alone is not enough: a process that was paused gets the responses of
   * MongoDB and Stripe before its own timers fire.
   */
  assertHeld(): void;
  onProgress(progress: Progress): void;
  /**
   * Reports that the stored checkpoint of a scan or an approval has advanced. The count of attempts then
   * starts again.
   */
  onCheckpoint(): void;
}

export interface CommandRunner {
  /**
   * Does the work. Throws a `Fault`: retryable (try again later), terminal (the request fails) or fatal (no
   * request can succeed in this process); on abort the signal's reason. `withResult` may attach the partial
   * result.
   */
  run(command: SyncCommand, context: CommandContext): Promise<SyncResult>;
}

// Turns the reports of an attempt into readable progress: recent speed and estimated time left.
interface Report {
  readonly atMs: number;
  readonly done: number;
  readonly ratio: number | undefined;
}

/** Speed is measured over the last half minute. */
const windowMs = 30_000;
/** A speed over a shorter time is not meaningful. */
const shortestMs = 500;

/**
 * Keeps the reports of one attempt. The objects that a resumed scan has done before do not count towards its
 * speed.
 */
export class ProgressMeter {
  #reports: Report[] = [];
  #latest: Progress | undefined;

  /** `nowMs` is monotonic. */
  report(progress: Progress, nowMs: number): void {
    this.#latest = progress;
    const last = this.#reports.at(-1);
    // One a second is enough to tell the speed, and bounds what is kept.
    if (last && nowMs - last.atMs < 1_000) return;
    this.#reports.push({ atMs: nowMs, done: progress.done, ratio: ratioOf(progress) });
    while (this.#reports.length > 2 && nowMs - (this.#reports[1]?.atMs ?? nowMs) > windowMs)
      this.#reports.shift();
  }

  /** The stored form, without the time; undefined before the first report. */
  current(nowMs: number): Omit<StoredProgress, 'updatedAt'> | undefined {
    if (!this.#latest) return undefined;
    const { done, estimated } = this.#latest;
    const ratio = ratioOf(this.#latest);
    const since = this.#reports[0];
    const seconds = since ? (nowMs - since.atMs) / 1_000 : 0;
    const hasSpeed = since !== undefined && seconds * 1_000 >= shortestMs;
    const perSecond = hasSpeed ? Math.max(0, (done - since.done) / seconds) : undefined;
    const ratioPerSecond = hasSpeed && ratio !== undefined ? (ratio - (since.ratio ?? 0)) / seconds : 0;
    return {
      done,
      ...(estimated !== undefined && { estimated }),
      ...(ratio !== undefined && { ratio: rounded(ratio, 4) }),
      ...(perSecond !== undefined && { perSecond: rounded(perSecond, 1) }),
      ...(ratio !== undefined &&
        ratioPerSecond > 0 && { etaSeconds: Math.round((1 - ratio) / ratioPerSecond) }),
    };
  }
}

/** 0 to 1: the command's own ratio if it gives one, otherwise computed from the counts. */
function ratioOf({ done, estimated, ratio }: Progress): number | undefined {
  const known = ratio ?? (estimated !== undefined && estimated > 0 ? done / estimated : undefined);
  return known === undefined || Number.isNaN(known) ? undefined : Math.min(1, Math.max(0, known));
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));
