// Replacements of the real mirror and scan state for a dry run: they read normally and write nothing.
import { isSameVersion } from './decide.js';
import type {
  Head,
  Mirror,
  MirrorWrite,
  MirrorWriteResult,
  Stored,
  StripeId,
  StripeObject,
} from './ports.js';
import type { Candidates, ScanState } from './scan/state.js';

export interface DryRunOptions {
  /**
   * Later writes and reads of an object see what earlier writes would have stored. Memory grows with the
   * writes, so a scan, which writes each object once, does without.
   */
  readonly remembers: boolean;
}

/**
 * A mirror for one dry run. Each write has the result that it would have in the given mirror at that moment,
 * guards and refusals included; only refusals by rules of MongoDB's own (a validator, a unique index) show in
 * a real run alone.
 */
export function dryRunOf(mirror: Mirror, { remembers }: DryRunOptions): Mirror {
  const drafts = new Map<StripeId, Stored>();
  const withDrafts = <T>(found: Map<StripeId, T>, ids: readonly StripeId[], read: (draft: Stored) => T) => {
    for (const id of ids) {
      const draft = drafts.get(id);
      if (draft) found.set(id, read(draft));
    }
    return found;
  };
  const headsOf = async (ids: readonly StripeId[]): Promise<Map<StripeId, Head>> =>
    withDrafts(await mirror.headsOf(ids), ids, ({ head }) => head);
  const storedOf = async (ids: readonly StripeId[]): Promise<Map<StripeId, Stored>> =>
    withDrafts(await mirror.storedOf(ids), ids, (draft) => draft);

  const draftOf = (write: MirrorWrite, stored: Stored | undefined): MirrorWriteResult => {
    if (stored?.head.writeId === write.writeId) return { kind: 'written' };
    if (!isSameVersion(stored?.head, write.basis)) return { kind: 'conflict' };
    const next = after(stored, write);
    const refusal = mirror.refusalOf(next.fields as StripeObject); // whole, or the fields of a part with its id
    if (refusal) return refusal;
    if (remembers) drafts.set(write.id, next);
    return { kind: 'written' };
  };

  return {
    ...mirror,
    headsOf,
    storedOf,
    write: async (writes, beforeSend) => {
      const ids = writes.map(({ id }) => id);
      // Only a merge depends on the stored fields.
      const merged = await storedOf(writes.filter(({ kind }) => kind === 'merge').map(({ id }) => id));
      const heads = await headsOf(ids);
      beforeSend?.();
      return writes.map((write) => {
        const { id } = write;
        const head = heads.get(id);
        const known = drafts.get(id) ?? merged.get(id);
        return draftOf(write, known ?? (head && { head, fields: { id } }));
      });
    },
  };
}

/** What would be stored after a write whose guard holds. */
function after(stored: Stored | undefined, write: MirrorWrite): Stored {
  const { id, writeId } = write;
  const { fields } = stored ?? { fields: {} };
  const head: Head = { ...(stored?.head ?? { id, ...nothing }), writeId, writtenAt: new Date() };
  switch (write.kind) {
    case 'put': {
      const { object, hash, observed, told } = write;
      return { head: { ...head, created: createdOf(object), hash, observed, told }, fields: object };
    }
    case 'merge': {
      const merged = { ...fields, ...write.fields };
      const hash = write.keepsHash ? head.hash : undefined;
      return { head: { ...head, created: createdOf(merged), hash, told: write.told }, fields: merged };
    }
    case 'confirm_deleted': {
      const known = stored ? fields : { id, deleted: true };
      const told = { observed: write.observed, told: [] };
      return { head: { ...head, ...told, deletedBy: 'stripe' }, fields: known };
    }
    case 'mark_deleted':
      return { head: { ...head, deletedBy: 'request' }, fields };
  }
}

const nothing = {
  created: undefined,
  hash: undefined,
  deletedBy: undefined,
  writtenAt: undefined,
  observed: undefined,
  told: [],
};

function createdOf({ created }: Stored['fields']): number | undefined {
  return typeof created === 'number' ? created : undefined;
}

/**
 * Scan state in memory for one dry run: it keeps the candidates and forgets everything else.
 * @param known says which ids are known to be absent, as a real run would find
 */
export function volatileScanState(known?: Pick<ScanState, 'recentlyAbsent' | 'lastComplete'>): ScanState {
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
    lastComplete: () => known?.lastComplete() ?? Promise.resolve(undefined),
    held: () => Promise.resolve(undefined),
    beginApproval: () => Promise.resolve(undefined),
    saveApproval: () => Promise.resolve(),
    endHeld: () => Promise.resolve(),
    recentlyAbsent: (ids) => known?.recentlyAbsent(ids) ?? Promise.resolve(new Set<StripeId>()),
    noteAbsent: () => Promise.resolve(),
  };
}

/** Reads a state without changing it: for the dry run of an approval. */
export const readOnlyScanState = (state: ScanState): ScanState => ({
  ...volatileScanState(state),
  held: () => state.held(),
  candidates: (scanId, after) => state.candidates(scanId, after),
  // An approval that was interrupted goes on from here in a real run.
  beginApproval: (_, held) => Promise.resolve(held.approval),
});
