// approveRemovals: goes on with the candidates for removal that a scan held, without a new scan. Each is still proven by Stripe.
import { Fault } from '../../errors.js';
import { type Progress, type SyncResult, Tally, withResult } from '../outcome.js';
import { findSuspects, proveRemovals, type ProveOptions } from './removals.js';

export interface ApproveOptions extends Omit<ProveOptions, 'onResult'> {
  /** The scan's request, whose result says `removalsHeld`. */
  readonly heldFor: string;
  readonly onProgress?: (progress: Progress) => void;
}

/**
 * Retrieves every held candidate and marks those of which Stripe says `deleted: true`. Can be repeated after a fault: what was
 * proven is not asked for again.
 * @throws Fault `not_found` (terminal) when no removals are held for that request, also because a later scan superseded them
 */
export async function approveRemovals(options: ApproveOptions): Promise<SyncResult> {
  const { mirror, state, heldFor, signal, onProgress } = options;
  const held = await state.held();
  if (held?.requestId !== heldFor) {
    throw new Fault(
      'not_found',
      `No removals are held for request ${heldFor}; a later scan may have superseded them`,
      {
        kind: 'terminal',
      },
    );
  }
  const tally = new Tally();
  try {
    const suspects = await findSuspects(mirror, state, held.scanId, signal);
    await proveRemovals(suspects, {
      ...options,
      onResult: (result) => {
        tally.add(result);
        onProgress?.({ done: tally.done, estimated: suspects.length, ratio: tally.done / suspects.length });
      },
    });
    await state.endHeld(held);
    return tally.result();
  } catch (error) {
    throw withResult(error, tally.result());
  }
}
