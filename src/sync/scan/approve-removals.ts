// approveRemovals: applies the removals that a scan held for approval, without a new scan. Stripe still
// confirms each one.
import { randomUUID } from 'node:crypto';
import { Fault } from '../../base/errors.js';
import { type Progress, type SyncResult, Tally, withResult } from '../outcome.js';
import { Checkpointer } from './progress.js';
import { type ProveOptions, proveRemovals, RemovalsProgress } from './removals.js';
import { type Approval, approvalOf, type HeldRemovals, isLeaseLost, type ScanState } from './state.js';

export interface ApproveOptions extends Omit<
  ProveOptions,
  'scanId' | 'progress' | 'wasListed' | 'onResult' | 'onChunk'
> {
  /** The scan's request, whose result says `removalsHeld`. */
  readonly heldFor: string;
  readonly onProgress?: (progress: Progress) => void;
  /** More progress is saved than at the start of this run. */
  readonly onCheckpoint?: () => void;
}

/**
 * Retrieves every held candidate and marks those that Stripe reports as `deleted: true`. Can be repeated
 * after an interruption: proven candidates are not retrieved again, and the result covers all of them.
 * @throws Fault `not_found` if no removals are held for that request, or a later scan superseded them;
 *   `lease_lost` if another run has taken over; the signal's reason on abort
 */
export async function approveRemovals(options: ApproveOptions): Promise<SyncResult> {
  const { state, heldFor, onProgress, onCheckpoint } = options;
  const held = await heldRemovals(state, heldFor);
  const runId = randomUUID();
  const approval = approvalOf(await state.beginApproval(runId, held));
  const progress = new RemovalsProgress(approval.removals);
  const tally = new Tally(approval.result);
  const listed = new Set(held.elsewhere);
  const saver = new Checkpointer<Approval>({
    snapshot: () => ({ removals: progress.save(), result: tally.result() }),
    save: (snapshot) => state.saveApproval(runId, snapshot),
    reached: ({ removals }) => `${removals.after} ${removals.proven.length}`,
    onMoved: () => onCheckpoint?.(),
  });
  try {
    await proveRemovals({
      ...options,
      scanId: held.scanId,
      progress,
      wasListed: (id) => listed.has(id),
      onChunk: () => saver.save(),
      onResult: async (result) => {
        tally.add(result);
        onProgress?.({
          done: tally.done,
          estimated: held.count,
          ratio: Math.min(1, tally.done / held.count),
        });
        await saver.saveSometimes();
      },
    });
    await state.endHeld(held);
    return tally.result();
  } catch (error) {
    if (!isLeaseLost(error)) await saver.save().catch(() => undefined);
    throw withResult(error, tally.result());
  }
}

async function heldRemovals(state: ScanState, heldFor: string): Promise<HeldRemovals> {
  const held = await state.held();
  if (held?.requestId === heldFor) return held;
  throw new Fault(
    'not_found',
    `No removals are held for request ${heldFor}; a later scan may have superseded them`,
  );
}
