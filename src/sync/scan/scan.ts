// syncAll: pages through every object at Stripe in windows of `created` and brings the mirror in line, removals included.
import { randomUUID } from 'node:crypto';
import { Fault } from '../../base/errors.js';
import { type ItemResult, type Progress, type SyncResult, type Tally, withResult } from '../outcome.js';
import type { Mirror, Source } from '../ports.js';
import { Checkpointer } from './checkpointer.js';
import { EarlyCatchUp } from './early-catch-up.js';
import { listWindows } from './list-windows.js';
import { firstWindows, Plan, Window } from './plan.js';
import { reached, ScanProgress } from './progress.js';
import { areHeld, countSuspects, missWithoutCreated, proveRemovals, type RemovalLimits } from './removals.js';
import { type Checkpoint, isLeaseLost, newCheckpoint, type ScanState, usableCheckpoint } from './state.js';

export interface ScanOptions {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly state: ScanState;
  readonly removals: RemovalLimits;
  /** Candidates for removal that are retrieved at once. How many calls list at once is for the source to say. */
  readonly retrievesAtOnce: number;
  /**
   * After an abort: how long what was listed by then may still be written, in milliseconds. Nothing is written after a loss of the lease
   * (Fault `lease_lost`).
   */
  readonly settleWithinMs: number;
  /**
   * Name of this scan. An interrupted one of the same name is gone on with; one of another name began before this was asked for, and
   * what it has read may be older than that. Kept with candidates that are held for approval.
   */
  readonly requestId: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** More is safe than when this run began: another run would go on from further on. */
  readonly onCheckpoint?: () => void;
}

/** Numbers of one run besides its result. */
export interface ScanReport {
  readonly result: SyncResult;
  /** Calls to list, those of earlier runs of the same scan included. */
  readonly pages: number;
  readonly isResumed: boolean;
}

/** The list may lag behind creation by some seconds: what is younger than this before T0 is listed once more at the end. */
const catchUpSeconds = 60;
const knownSamples = 1_000;

interface Run extends ScanOptions {
  readonly scanned: ScanProgress;
  readonly saver: Checkpointer<Checkpoint>;
}

/**
 * Runs a scan to its end, or goes on with the one of its name that a checkpoint holds. A result is returned only for a complete scan: the
 * finished windows cover all time and what was created meanwhile was listed. Removals are concluded after that, and only from
 * Stripe's own word.
 * @throws Fault `retryable` where Stripe or MongoDB cannot be reached (the checkpoint stands), `lease_lost` when another run has
 *   taken over; the signal's reason on abort, after what was listed is written and a last checkpoint
 */
export async function scan(options: ScanOptions): Promise<ScanReport> {
  const { source, state, requestId } = options;
  const runId = randomUUID();
  const identity = { requestId, apiVersion: source.apiVersion, livemode: source.livemode, nowMs: Date.now() };
  const resumed = usableCheckpoint(await state.begin(runId), identity);
  const scanned = new ScanProgress(resumed ?? newCheckpoint(randomUUID(), identity), state);
  const saver = new Checkpointer({
    snapshot: () => scanned.snapshot(),
    save: (checkpoint) => state.save(runId, checkpoint),
    reached,
    onMoved: () => options.onCheckpoint?.(),
  });
  const { scanId, tally } = scanned;
  try {
    if (resumed) await scanned.candidates.dropUnsettled();
    const removalsHeld = await runPhases({ ...options, scanned, saver });
    const isHeld = removalsHeld > 0;
    await state.end(runId, {
      scanId,
      isComplete: !isHeld,
      heldFor: isHeld ? requestId : undefined,
      heldCount: removalsHeld,
    });
    options.onProgress?.({ done: tally.done, estimated: tally.done, ratio: 1 });
    const result = tally.result(isHeld ? { removalsHeld } : {});
    return { result, pages: scanned.pages, isResumed: resumed !== undefined };
  } catch (error) {
    // The run is over either way; its own fault says more than that of a checkpoint that could not be saved.
    if (!isLeaseLost(error)) await saver.save().catch(() => undefined);
    throw withResult(error, tally.result());
  }
}

/** What is left of the scan from its checkpoint on. Returns how many candidates for removal are held. */
async function runPhases(run: Run): Promise<number> {
  const { mirror, scanned, saver, signal } = run;
  const { candidates, tally } = scanned;
  const living = await mirror.countLive();
  let isCaughtUp = false;
  if (scanned.phase === 'list') {
    isCaughtUp = await listAll(run, living);
    scanned.phase = 'catch_up';
    await saver.save();
  }
  if (scanned.phase === 'catch_up') {
    if (!isCaughtUp) await catchUp(run);
    await missWithoutCreated(mirror, candidates.begin(), signal);
    candidates.settleAll();
    scanned.phase = 'removals';
    await saver.save();
  }
  const suspects = { ...run, scanId: scanned.scanId, progress: scanned.removals };
  const count = await countSuspects(suspects);
  if (areHeld(count, living, run.removals)) return count;
  await proveRemovals({
    ...suspects,
    onResult: async (result) => {
      countIn(tally, result);
      await saver.saveSometimes();
    },
  });
  return 0;
}

async function firstPlan({ source, mirror }: ScanOptions): Promise<Plan> {
  const known = await mirror.sampleCreated(knownSamples);
  const most = source.listsAtOnce();
  // A small account is not worth more windows than it has pages.
  const isSmall = known.length > 0 && known.length < knownSamples;
  const count = isSmall ? Math.min(most, Math.ceil(known.length / 300)) : most;
  return new Plan(firstWindows(count, known, Date.now() / 1_000));
}

/** Lists the windows, and near their end what was created meanwhile. Returns whether that is done as well. */
async function listAll(run: Run, living: number): Promise<boolean> {
  const { scanned, signal } = run;
  const { tally, candidates } = scanned;
  const plan = (scanned.plan ??= await firstPlan(run));
  const early = new EarlyCatchUp(
    {
      mayBegin: () => scanned.t0 !== undefined && plan.isDoneFrom(scanned.t0 - catchUpSeconds),
      list: (ending) => catchUp({ ...run, signal: ending }),
    },
    signal,
  );
  const caughtUp = await early.beside((ending) =>
    list(
      plan,
      { ...run, signal: ending },
      {
        onAsk: () => early.pageAsked(),
        onEndNear: () => early.begin(),
        onProgress: (left) => {
          // What the mirror has is the better guess, once it has anything.
          reportProgress(run, living > 0 ? Math.max(living, tally.done) : tally.done + left);
        },
      },
    ),
  );
  if (caughtUp === 'in_vain') await candidates.dropUnsettled();
  return caughtUp === 'done';
}

/** Lists once more what was created shortly before the scan and since. */
async function catchUp(run: Run): Promise<void> {
  const gte = Math.max(0, (run.scanned.t0 ?? 0) - catchUpSeconds);
  await list(new Plan([new Window({ gte, lt: undefined })]), run);
}

interface ListHooks {
  readonly onAsk?: () => void;
  readonly onEndNear?: () => void;
  readonly onProgress?: (estimatedLeft: number) => void;
}

/** Lists all windows of a plan and reconciles them. */
async function list(plan: Plan, run: Run, { onProgress, ...hooks }: ListHooks = {}): Promise<void> {
  const { scanned, saver } = run;
  const { candidates, tally } = scanned;
  const isCatchUp = plan !== scanned.plan;
  await listWindows(plan, {
    ...run,
    ...hooks,
    // What is absent below T0 the windows tell, above it the catch-up.
    conclusive: () => (isCatchUp ? { gte: scanned.t0 } : { lt: scanned.t0 ?? 0 }),
    onPage: (page) => scanned.listed(page),
    // After an interruption the catch-up is listed anew, for it is short: none of its runs is settled before all are.
    missedByRun: () => (isCatchUp ? { ...candidates.begin(), settle: () => undefined } : candidates.begin()),
    onResults: (results) => {
      // The catch-up lists again what the windows have counted already.
      for (const result of results) if (!isCatchUp || result.outcome !== 'unchanged') countIn(tally, result);
      onProgress?.(plan.estimatedLeft);
    },
    onSettled: () => saver.saveSometimes(),
  });
  if (isCatchUp ? !plan.isDone : !plan.isComplete) {
    throw new Fault('scan_incomplete', 'The windows of the scan do not cover all time', {
      kind: 'retryable',
    });
  }
}

/** Of a scan only what is worth a look is listed: the ordinary outcomes are counted. */
function countIn(tally: Tally, result: ItemResult): void {
  const isOrdinary = result.code === undefined && result.outcome !== 'deleted' && result.outcome !== 'failed';
  if (isOrdinary) tally.count(result.outcome);
  else tally.add(result);
}

function reportProgress({ onProgress, scanned }: Run, estimated: number): void {
  const { done } = scanned.tally;
  onProgress?.({
    done,
    estimated: Math.round(estimated),
    ratio: estimated > 0 ? Math.min(1, done / estimated) : undefined,
  });
}
