// Replacements of the real mirror and scan state for a dry run: they read normally and write nothing.
import type { Head, Mirror, MirrorWrite, MirrorWriteResult, Stored, StripeId } from './ports.js';
import type { Candidates, ScanState } from './scan/state.js';

/**
 * A mirror for one dry run. What is written to it is kept in memory and found again, so that the result shows
 * the changes of a real run.
 */
export function dryRunOf(mirror: Mirror): Mirror {
  const written = new Map<StripeId, Stored>();
  const storedOf = async (ids: readonly StripeId[]): Promise<Map<StripeId, Stored>> => {
    const stored = await mirror.storedOf(ids.filter((id) => !written.has(id)));
    for (const id of ids) {
      const own = written.get(id);
      if (own) stored.set(id, own);
    }
    return stored;
  };
  return {
    ...mirror,
    storedOf,
    async headsOf(ids) {
      const heads = await mirror.headsOf(ids);
      for (const id of ids) {
        const own = written.get(id);
        if (own) heads.set(id, own.head);
      }
      return heads;
    },
    async write(writes) {
      const merged = writes.filter(({ kind }) => kind === 'merge').map(({ id }) => id);
      const before = merged.length > 0 ? await storedOf(merged) : written;
      return writes.map((write): MirrorWriteResult => {
        const current = written.get(write.id)?.head.writeId;
        if (current !== undefined && current !== write.basis?.writeId) return { kind: 'conflict' };
        written.set(write.id, afterWrite(before.get(write.id)?.fields ?? {}, write));
        return { kind: 'written' };
      });
    },
  };
}

/** What a write leaves. */
function afterWrite(fields: Stored['fields'], write: MirrorWrite): Stored {
  const { id, writeId, basis } = write;
  const head: Head = basis ?? {
    id,
    created: undefined,
    hash: undefined,
    deletedBy: undefined,
    writeId,
    writtenAt: undefined,
    observed: undefined,
    told: [],
  };
  switch (write.kind) {
    case 'put': {
      const { object, hash, observed, told } = write;
      // Only batches read fields again, and a scan's would fill the memory.
      const kept = write.source === 'batch' ? object : {};
      return { head: { ...head, writeId, created: createdOf(object), hash, observed, told }, fields: kept };
    }
    case 'merge': {
      const merged = { ...fields, ...write.fields };
      const hash = write.keepsHash ? head.hash : undefined;
      return {
        head: { ...head, writeId, created: createdOf(merged), hash, told: write.told },
        fields: merged,
      };
    }
    case 'confirm_deleted':
      return { head: { ...head, writeId, deletedBy: 'stripe' }, fields };
    case 'mark_deleted':
      return { head: { ...head, writeId, deletedBy: 'request' }, fields };
  }
}

const createdOf = ({ created }: Stored['fields']): number | undefined =>
  typeof created === 'number' ? created : undefined;

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
    lastComplete: () => Promise.resolve(undefined),
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
