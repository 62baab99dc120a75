// syncAll: lists every object at Stripe in windows of `created` and updates the mirror, removals included.
import { randomUUID } from 'node:crypto';
import { Fault } from '../../base/errors.js';
import { type Progress, statusOf, type SyncResult, withResult } from '../outcome.js';
import type { Mirror, Source, StripeId } from '../ports.js';
import { EarlyCatchUp } from './early-catch-up.js';
import { type FetchHooks, type ListOptions, listWindows } from './list-windows.js';
import { firstWindows, Plan, Window } from './plan.js';
import { Checkpointer, reached, ScanProgress } from './progress.js';
import { areHeld, countSuspects, missWithoutCreated, proveRemovals, type RemovalLimits } from './removals.js';
import { type Checkpoint, isLeaseLost, newCheckpoint, type ScanState, usableCheckpoint } from './state.js';
import { listClocks } from './test-clocks.js';

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
  /** Lists the objects of test clocks, too, where the source has them; false by default. */
  readonly testClocks?: boolean;
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

const knownSamples = 1_000;

/** What metrics learn of scans. */
export interface ScanObserver {
  /** A scan listed so many rows out of order. */
  rowsDisordered(event: { readonly object: string; readonly count: number }): void;
}

interface Run extends ScanOptions {
  readonly testClocks: boolean;
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
  const testClocks = options.testClocks === true && source.testClocks !== undefined;
  const { apiVersion, livemode } = source;
  const identity = { requestId, apiVersion, livemode, testClocks, nowMs: Date.now() };
  const resumed = usableCheckpoint(await state.begin(runId), identity);
  const scanned = new ScanProgress(resumed ?? newCheckpoint(randomUUID(), identity), state);
  const saver = new Checkpointer({
    snapshot: () => scanned.snapshot(),
    save: (checkpoint) => state.save(runId, checkpoint),
    reached,
    onMoved: () => options.onCheckpoint?.(),
  });
  const { scanId, counts } = scanned;
  try {
    if (resumed) await scanned.candidates.dropUnsettled();
    const removalsHeld = await runPhases({ ...options, testClocks, scanned, saver });
    const isHeld = removalsHeld > 0;
    await state.end(runId, {
      scanId,
      // Where every object failed, nothing is mirrored that the scan could answer for.
      isComplete: !isHeld && statusOf(counts.result()) !== 'failed',
      heldFor: isHeld ? requestId : undefined,
      heldCount: removalsHeld,
      confirmed: scanned.confirmed(seesTestClocks(testClocks, scanned)),
      elsewhere: counts.elsewhere,
      leftOut: counts.result().failed,
    });
    options.onProgress?.({ done: counts.done, estimated: counts.done, ratio: 1 });
    const result = counts.result(isHeld ? { removalsHeld } : {});
    const { pages, disordered } = scanned;
    return { result, pages, disordered, isResumed: resumed !== undefined };
  } catch (error) {
    // The run has ended either way. Its own fault says more than a failure to save the last checkpoint.
    if (!isLeaseLost(error)) await saver.save().catch(() => undefined);
    throw withResult(error, counts.result());
  }
}

/** Runs the remaining phases after the checkpoint. Returns how many candidates for removal are held. */
async function runPhases(run: Run): Promise<number> {
  const { mirror, scanned, saver, signal } = run;
  const { candidates, counts } = scanned;
  const living = await mirror.countLive();
  let isCaughtUp = false;
  if (scanned.phase === 'list') {
    isCaughtUp = await listAll(run, living);
    scanned.phase = run.testClocks ? 'clocks' : 'catch_up';
    await saver.save();
  }
  if (scanned.phase === 'clocks') {
    await listClocks(run);
    scanned.phase = 'catch_up';
    await saver.save();
  }
  if (scanned.phase === 'catch_up') {
    if (!isCaughtUp) await catchUp(run);
    await missWithoutCreated(mirror, candidates.begin(), signal);
    candidates.settleAll();
    counts.endCatchUp();
    scanned.phase = 'removals';
    await saver.save();
  }
  const suspects = {
    ...run,
    scanId: scanned.scanId,
    progress: scanned.removals,
    wasListed: (id: StripeId) => counts.wasListedElsewhere(id),
    ofTestClocks: seesTestClocks(run.testClocks, scanned),
  };
  const count = await countSuspects(suspects);
  if (areHeld(count, living, run.removals)) return count;
  await proveRemovals({
    ...suspects,
    onResult: async (result) => {
      counts.count(result);
      await saver.saveSometimes();
    },
    onChunk: () => saver.save(),
  });
  return 0;
}

/** Where too many were listed to remember them, those forgotten would be retrieved one by one. */
const seesTestClocks = (testClocks: boolean, { counts }: ScanProgress): boolean =>
  testClocks && !counts.isElsewhereFull;

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
  const { counts } = scanned;
  const plan = (scanned.plan ??= await firstPlan(run));
  const early = new EarlyCatchUp(
    {
      // The catch-up is the last to be listed, after the clocks.
      mayBegin: () => scanned.t0 !== undefined && !run.testClocks,
      list: (ending, mayWrite) => catchUp({ ...run, signal: ending }, mayWrite),
    },
    signal,
  );
  return early.beside((ending) =>
    list(
      plan,
      { ...run, signal: ending },
      {
        onAsk: () => early.pageAsked(),
        onEndNear: () => early.begin(),
        onProgress: (left) => {
          // The size of the mirror is the better estimate, once it has any objects.
          reportProgress(run, living > 0 ? Math.max(living, counts.done) : counts.done + left);
        },
      },
    ),
  );
}

/** The catch-up: lists the objects created shortly before the scan and since. */
async function catchUp(run: Run, mayWrite?: Promise<void>): Promise<void> {
  const { caughtUpFrom = 0 } = run.scanned;
  await list(new Plan([new Window({ gte: caughtUpFrom, lt: undefined })]), run, { mayWrite });
}

interface ListHooks extends FetchHooks, Pick<ListOptions, 'mayWrite'> {
  readonly onProgress?: (estimatedLeft: number) => void;
}

/** Lists all windows of a plan and reconciles them. */
async function list(plan: Plan, run: Run, { onProgress, ...hooks }: ListHooks = {}): Promise<void> {
  const { scanned, saver } = run;
  const { candidates, counts } = scanned;
  const isCatchUp = plan !== scanned.plan;
  await listWindows(plan, {
    ...run,
    ...hooks,
    // What the windows list of the catch-up's range is left to the catch-up: nobody is settled twice.
    range: () => (isCatchUp ? { gte: scanned.caughtUpFrom } : { lt: scanned.caughtUpFrom ?? 0 }),
    onPage: (page) => scanned.listed(page),
    // The catch-up is short and starts again after an interruption. None of its runs is settled until all
    // are.
    missedByRun: () => (isCatchUp ? { ...candidates.begin(), settle: () => undefined } : candidates.begin()),
    onResults: (results, elsewhere) => {
      if (isCatchUp) counts.countCaughtUp(results, elsewhere);
      else counts.countListed(results, elsewhere);
      onProgress?.(plan.estimatedLeft);
    },
    onSettled: () => saver.saveSometimes(),
  });
  if (isCatchUp ? !plan.isDone : !plan.isComplete) {
    throw new Fault('scan_incomplete', 'The windows of the scan leave gaps in time');
  }
}

function reportProgress({ onProgress, scanned }: Run, estimated: number): void {
  const { done } = scanned.counts;
  onProgress?.({
    done,
    estimated: Math.round(estimated),
    ratio: estimated > 0 ? Math.min(1, done / estimated) : undefined,
  });
}
