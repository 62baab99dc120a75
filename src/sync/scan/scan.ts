// syncAll: lists every object at Stripe in windows of `created` and updates the mirror, removals included.
import { randomUUID } from 'node:crypto';
import { Fault } from '../../base/errors.js';
import { type ItemResult, type Progress, type SyncResult, type Tally, withResult } from '../outcome.js';
import type { Mirror, Source } from '../ports.js';
import { EarlyCatchUp } from './early-catch-up.js';
import { type FetchHooks, listWindows } from './list-windows.js';
import { firstWindows, Plan, Window } from './plan.js';
import { Checkpointer, reached, ScanProgress } from './progress.js';
import { areHeld, countSuspects, missWithoutCreated, proveRemovals, type RemovalLimits } from './removals.js';
import { type Checkpoint, isLeaseLost, newCheckpoint, type ScanState, usableCheckpoint } from './state.js';

export interface ScanOptions {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly state: ScanState;
  readonly removals: RemovalLimits;
  /** Candidates for removal retrieved at once. The source says how many calls list at once. */
  readonly retrievesAtOnce: number;
  /**
   * How long listed pages may still be written after an abort, in milliseconds; not after a Fault
   * `lease_lost`.
   */
  readonly settleWithinMs: number;
  /**
   * Name of this scan. Only an interrupted scan of the same name is resumed: another one may have read
   * objects before this scan was requested. The name is kept with candidates that are held for approval.
   */
  readonly requestId: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** More progress is saved than at the start of this run, so another run would resume further on. */
  readonly onCheckpoint?: () => void;
}

/** The result of a run and further numbers. */
export interface ScanReport {
  readonly result: SyncResult;
  /** Calls to list, including those of earlier runs of the same scan. */
  readonly pages: number;
  readonly isResumed: boolean;
  /** Rows listed out of order in this run. They are mirrored; their windows report no object as missing. */
  readonly disordered: number;
}

/**
 * The list may lag behind creation by some seconds. Objects created since this long before T0 are listed
 * again.
 */
const catchUpSeconds = 60;
const knownSamples = 1_000;

/** What metrics learn of scans. */
export interface ScanObserver {
  /** A scan listed so many rows out of order. */
  rowsDisordered(event: { readonly object: string; readonly count: number }): void;
}

interface Run extends ScanOptions {
  readonly scanned: ScanProgress;
  readonly saver: Checkpointer<Checkpoint>;
}

/**
 * Runs a scan to its end, or resumes the one of its name from a checkpoint. Returns only after a complete
 * scan: the finished windows cover all time, and objects created during the scan are listed. Removals are
 * concluded after that, and only if Stripe confirms them.
 * @throws Fault `retryable` if Stripe or MongoDB is unreachable (the checkpoint stays), `lease_lost` if
 *   another run has taken over; the signal's reason on abort, after listed pages are written and a last
 *   checkpoint is saved
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
      leftOut: tally.result().failed,
    });
    options.onProgress?.({ done: tally.done, estimated: tally.done, ratio: 1 });
    const result = tally.result(isHeld ? { removalsHeld } : {});
    const { pages, disordered } = scanned;
    return { result, pages, disordered, isResumed: resumed !== undefined };
  } catch (error) {
    // The run has ended either way. Its own fault says more than a failure to save the last checkpoint.
    if (!isLeaseLost(error)) await saver.save().catch(() => undefined);
    throw withResult(error, tally.result());
  }
}

/** Runs the remaining phases after the checkpoint. Returns how many candidates for removal are held. */
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
  const { scanId, removals: progress, undated } = scanned;
  const suspects = { ...run, scanId, progress, undated };
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
  // A small account needs no more windows than it has pages.
  const isSmall = known.length > 0 && known.length < knownSamples;
  const count = isSmall ? Math.min(most, Math.ceil(known.length / 300)) : most;
  return new Plan(firstWindows(count, known, Date.now() / 1_000));
}

/** Lists the windows and starts the catch-up near their end. Returns whether the catch-up is done as well. */
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
          // The size of the mirror is the better estimate, once it has any objects.
          reportProgress(run, living > 0 ? Math.max(living, tally.done) : tally.done + left);
        },
      },
    ),
  );
  if (caughtUp === 'in_vain') await candidates.dropUnsettled();
  return caughtUp === 'done';
}

/** The catch-up: lists again the objects created shortly before the scan and since. */
async function catchUp(run: Run): Promise<void> {
  const gte = Math.max(0, (run.scanned.t0 ?? 0) - catchUpSeconds);
  await list(new Plan([new Window({ gte, lt: undefined })]), run);
}

interface ListHooks extends FetchHooks {
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
    // The windows are conclusive below T0, the catch-up above it.
    conclusive: () => (isCatchUp ? { gte: scanned.t0 } : { lt: scanned.t0 ?? 0 }),
    onPage: (page) => scanned.listed(page),
    // The catch-up is short and starts again after an interruption. None of its runs is settled until all
    // are.
    missedByRun: () => (isCatchUp ? { ...candidates.begin(), settle: () => undefined } : candidates.begin()),
    onResults: (results) => {
      // The catch-up lists objects again that the windows have counted.
      for (const result of results) {
        const isCounted = isCatchUp && (result.outcome === 'unchanged' || tally.listsFailureOf(result));
        if (!isCounted) countIn(tally, result);
      }
      onProgress?.(plan.estimatedLeft);
    },
    onSettled: () => saver.saveSometimes(),
  });
  if (isCatchUp ? !plan.isDone : !plan.isComplete) {
    throw new Fault('scan_incomplete', 'The windows of the scan leave gaps in time');
  }
}

/** A scan lists only notable items: the ordinary outcomes are counted. */
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
