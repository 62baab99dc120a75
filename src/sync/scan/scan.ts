// syncAll: pages through every object at Stripe in windows of `created` and brings the mirror in line, removals included.
import { randomUUID } from 'node:crypto';
import { Fault } from '../../errors.js';
import { type ItemResult, type Progress, type SyncResult, Tally, withResult } from '../outcome.js';
import type { Mirror, Source } from '../ports.js';
import { Checkpointer } from './checkpointer.js';
import { listWindows } from './list-windows.js';
import { firstWindows, Plan, Window } from './plan.js';
import { areHeld, findSuspects, proveRemovals, type RemovalLimits } from './removals.js';
import { newCheckpoint, type ScanState, usableCheckpoint } from './state.js';

export interface ScanOptions {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly state: ScanState;
  readonly removals: RemovalLimits;
  /** Calls to list at once; the source's own limits hold besides. */
  readonly concurrency: number;
  /**
   * Name of this scan. An interrupted one of the same name is gone on with; one of another name began before this was asked for, and
   * what it has read may be older than that. Kept with candidates that are held for approval.
   */
  readonly requestId: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** What was done so far is safe: another run would go on from here. */
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

/**
 * Runs a scan to its end, or goes on with the one of its name that a checkpoint holds. A result is returned only for a complete scan: the
 * finished windows cover all time and what was created meanwhile was listed. Removals are concluded after that, and only from
 * Stripe's own word.
 * @throws Fault `retryable` where Stripe or MongoDB cannot be reached (the checkpoint stands), `lease_lost` when another run has
 *   taken over; the signal's reason on abort, after a last checkpoint
 */
export async function scan(options: ScanOptions): Promise<ScanReport> {
  const { source, state, requestId } = options;
  const runId = randomUUID();
  const identity = { requestId, apiVersion: source.apiVersion, livemode: source.livemode, nowMs: Date.now() };
  const resumed = usableCheckpoint(await state.begin(runId), identity);
  const checkpoint = resumed ?? newCheckpoint(randomUUID(), identity);
  const tally = new Tally(checkpoint.result);
  const saver = new Checkpointer(state, runId, checkpoint, tally, () => options.onCheckpoint?.());
  try {
    const removalsHeld = await runPhases(options, saver, tally);
    const { scanId, pages } = checkpoint;
    const isHeld = removalsHeld > 0;
    await state.end(runId, {
      scanId,
      isComplete: !isHeld,
      heldFor: isHeld ? requestId : undefined,
      heldCount: removalsHeld,
    });
    options.onProgress?.({ done: tally.done, estimated: tally.done, ratio: 1 });
    return { result: tally.result(isHeld ? { removalsHeld } : {}), pages, isResumed: resumed !== undefined };
  } catch (error) {
    throw withResult(error, tally.result());
  }
}

/** What is left of the scan from its checkpoint on. Returns how many candidates for removal are held. */
async function runPhases(options: ScanOptions, saver: Checkpointer, tally: Tally): Promise<number> {
  const { source, mirror, state, signal, concurrency } = options;
  const { checkpoint } = saver;
  const living = await mirror.countLive();
  if (checkpoint.phase === 'list') {
    const stored = checkpoint.windows.map((window) => Window.restore(window));
    const plan = stored.length > 0 ? new Plan(stored) : await firstPlan(options);
    await list(plan, options, saver, tally, (left) => {
      // What the mirror has is the better guess, once it has anything.
      reportProgress(options, tally, living > 0 ? Math.max(living, tally.done) : tally.done + left);
    });
    checkpoint.phase = 'catch_up';
    await saver.save(plan);
  }
  if (checkpoint.phase === 'catch_up') {
    const gte = Math.max(0, (checkpoint.t0 ?? 0) - catchUpSeconds);
    await list(new Plan([new Window({ gte, lt: undefined })]), options, saver, tally);
    checkpoint.phase = 'removals';
    await saver.save();
  }
  const suspects = await findSuspects(mirror, state, checkpoint.scanId, signal);
  if (areHeld(suspects.length, living, options.removals)) return suspects.length;
  await proveRemovals(suspects, {
    source,
    mirror,
    state,
    concurrency,
    signal,
    onResult: async (result) => {
      count(tally, result);
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

/** Lists all windows of a plan and reconciles them; on any end a last checkpoint is tried. */
async function list(
  plan: Plan,
  options: ScanOptions,
  saver: Checkpointer,
  tally: Tally,
  onProgress?: (estimatedLeft: number) => void,
): Promise<void> {
  const { source, mirror, state, signal } = options;
  const { checkpoint } = saver;
  const isCatchUp = checkpoint.phase === 'catch_up';
  try {
    await listWindows(plan, {
      source,
      mirror,
      signal,
      // What is absent below T0 the windows tell, above it the catch-up.
      conclusive: () => (isCatchUp ? { gte: checkpoint.t0 } : { lt: checkpoint.t0 ?? 0 }),
      onPage: (page) => {
        checkpoint.pages += 1;
        checkpoint.t0 ??= page.stripeTime;
      },
      onMissing: (ids) => state.addCandidates(checkpoint.scanId, ids),
      onResults: (results) => {
        // The catch-up lists again what the windows have counted already.
        for (const result of results) if (!isCatchUp || result.outcome !== 'unchanged') count(tally, result);
        onProgress?.(plan.estimatedLeft);
      },
      // After a crash the catch-up is listed anew: it is short.
      onSettled: () => (isCatchUp ? Promise.resolve() : saver.saveSometimes(plan)),
    });
  } catch (error) {
    // The run is over either way; its own fault says more than that of a checkpoint that could not be saved.
    if (!isCatchUp) await saver.save(plan).catch(() => undefined);
    throw error;
  }
  if (isCatchUp ? !plan.isDone : !plan.isComplete) {
    throw new Fault('scan_incomplete', 'The windows of the scan do not cover all time', {
      kind: 'retryable',
    });
  }
}

/** Of a scan only what is worth a look is listed: the ordinary outcomes are counted. */
function count(tally: Tally, result: ItemResult): void {
  const isOrdinary = result.code === undefined && result.outcome !== 'deleted' && result.outcome !== 'failed';
  if (isOrdinary) tally.count(result.outcome);
  else tally.add(result);
}

function reportProgress({ onProgress }: ScanOptions, { done }: Tally, estimated: number): void {
  onProgress?.({
    done,
    estimated: Math.round(estimated),
    ratio: estimated > 0 ? Math.min(1, done / estimated) : undefined,
  });
}
