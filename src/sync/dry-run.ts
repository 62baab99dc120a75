// Replacements of the real mirror and scan state for a dry run: they read normally and write nothing.
import { canonicalJson } from './canonical.js';
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
    const next = after(stored, write);
    if (stored && (next === stored || next === 'conflict') && carries(stored.head, write))
      return { kind: 'written' };
    if (next === 'conflict') return { kind: 'conflict' };
    if (next === stored) return { kind: 'unchanged' };
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

/** What would be stored after a write whose guard holds; the very same where it changes nothing. */
function after(stored: Stored | undefined, write: MirrorWrite): Stored | 'conflict' {
  const { id, observed } = write;
  const deletedBy = stored?.head.deletedBy;
  const before = stored?.head.observed;
  const isFree = deletedBy !== 'stripe' && (!before || before.to <= observed.from);
  const written = (fields: Stored['fields'], hash: string | undefined): Stored => ({
    head: { id, created: createdOf(fields), hash, observed, deletedBy },
    fields,
  });
  switch (write.kind) {
    case 'insert':
      return stored ? 'conflict' : written(write.object, write.hash);
    case 'replace':
      return stored && isFree ? written(write.object, write.hash) : 'conflict';
    case 'merge': {
      if (!isFree) return 'conflict';
      const fields = { ...stored?.fields, ...write.fields };
      const isSame = stored && canonicalJson(fields) === canonicalJson(stored.fields);
      return isSame ? stored : written(fields, undefined);
    }
    case 'confirm_deleted': {
      if (stored && deletedBy === 'stripe') return stored;
      const { head, fields } = stored ?? written({ id, deleted: true }, undefined);
      return { head: { ...head, observed, deletedBy: 'stripe' }, fields };
    }
    case 'mark_deleted':
      if (!stored || deletedBy) return 'conflict';
      return { ...stored, head: { ...stored.head, deletedBy: 'request' } };
  }
}

/** Whether the write was applied before, by what the stored object carries. */
function carries({ observed, hash, deletedBy }: Head, write: MirrorWrite): boolean {
  if (write.kind === 'confirm_deleted') return deletedBy === 'stripe';
  if (write.kind === 'mark_deleted') return deletedBy === 'request';
  const isSameRead =
    observed?.from.getTime() === write.observed.from.getTime() &&
    observed.to.getTime() === write.observed.to.getTime();
  return isSameRead && (write.kind === 'merge' || hash === write.hash);
}

function createdOf({ created }: Stored['fields']): number | undefined {
  return typeof created === 'number' ? created : undefined;
}

/**
 * Scan state in memory for one dry run: it keeps the candidates and forgets everything else.
 * @param known says which ids are known to be absent, as a real run would find
 */
export function volatileScanState(known?: Pick<ScanState, 'recentlyAbsent'>): ScanState {
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
