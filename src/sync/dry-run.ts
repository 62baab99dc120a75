// Replacements of the real mirror and scan state for a dry run: they read normally and write nothing.
import type { Mirror, StripeId } from './ports.js';
import type { Candidates, ScanState } from './scan/state.js';

/**
 * A mirror for one dry run. Every write counts as written, so that the result shows the changes of a real
 * run. A second write of the same object counts as unchanged, as in a real run.
 */
export function dryRunOf(mirror: Mirror): Mirror {
  const written = new Set<StripeId>();
  return {
    ...mirror,
    write: (writes) =>
      Promise.resolve(
        writes.map(({ id }) => {
          const isAgain = written.has(id);
          written.add(id);
          return { kind: isAgain ? 'unchanged' : 'written' };
        }),
      ),
  };
}

/** Scan state in memory for one dry run: it keeps the candidates and forgets everything else. */
export function volatileScanState(): ScanState {
  let kept: (Candidates & { readonly scanId: string; readonly run: number })[] = [];
  let added = 0;
  return {
    begin: () => Promise.resolve(undefined),
    save: () => Promise.resolve(),
    addCandidates: (scanId, run, ids) => {
      kept.push({ scanId, run, ids, upTo: String((added += 1)) });
      return Promise.resolve();
    },
    dropCandidates: (scanId, { next, open }) => {
      kept = kept.filter((each) => each.scanId !== scanId || (each.run < next && !open.includes(each.run)));
      return Promise.resolve();
    },
    async *candidates(scanId, after) {
      await Promise.resolve();
      yield* kept.filter((each) => each.scanId === scanId && Number(each.upTo) > Number(after ?? 0));
    },
    end: () => Promise.resolve(),
    held: () => Promise.resolve(undefined),
    beginApproval: () => Promise.resolve(undefined),
    saveApproval: () => Promise.resolve(),
    endHeld: () => Promise.resolve(),
    recentlyAbsent: () => Promise.resolve(new Set<StripeId>()),
    noteAbsent: () => Promise.resolve(),
  };
}

/** Reads a state without changing it: for the dry run of an approval. */
export const readOnlyScanState = (state: ScanState): ScanState => ({
  ...volatileScanState(),
  held: () => state.held(),
  candidates: (scanId, after) => state.candidates(scanId, after),
  recentlyAbsent: (ids) => state.recentlyAbsent(ids),
});
