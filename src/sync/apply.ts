// The step that every operation shares: applies reads of objects to the mirror, guarded against older and
// newer reads.
import { Fault } from '../base/errors.js';
import { canonicalJson, prepare } from './canonical.js';
import { decideBatch, decideRead, type Decision, isSameVersion, maxAnswerAgeMs } from './decide.js';
import { confirmDeleted } from './deletion.js';
import { failedItem, type ItemResult, type Outcome } from './outcome.js';
import type {
  CallOptions,
  Head,
  Mirror,
  MirrorWrite,
  RetrieveAnswer,
  Source,
  StripeId,
  StripeObject,
  WriteSource,
} from './ports.js';
import type { Telling, ToldFields } from './telling.js';
import { newWriteId, resultAt } from './writes.js';

/** A whole object as Stripe or a batch told it, ready to be compared and stored. */
export interface WholeRead {
  readonly id: StripeId;
  readonly object: StripeObject;
  readonly hash: string;
  readonly observed: Telling;
  /** As in `Answer`. */
  readonly receivedAtMs: number;
  readonly source: WriteSource;
  /** Whether it is known to be later than what is stored, whatever the times say. */
  readonly isLaterThan?: IsLaterThan | undefined;
}

export type IsLaterThan = (stored: Head) => boolean;

/** Makes reads of the objects of one answer. */
export function toReads(
  objects: readonly StripeObject[],
  answer: Pick<WholeRead, 'observed' | 'receivedAtMs' | 'isLaterThan'>,
  source: WriteSource,
): WholeRead[] {
  const { observed, receivedAtMs, isLaterThan } = answer;
  return objects.map((received) => ({
    id: received.id,
    ...prepare(received),
    observed,
    receivedAtMs,
    source,
    isLaterThan,
  }));
}

export interface Applied {
  readonly results: readonly ItemResult[];
  /** Neither written nor dropped. Reads are made again. */
  readonly unsettled: readonly Unsettled[];
}

interface Unsettled {
  readonly id: StripeId;
  /**
   * `overlap`: it is not known whether it is older than what is stored. `too_old`: the answer is too old to
   * be written. `contended`: other writers came between every time.
   */
  readonly reason: 'overlap' | 'too_old' | 'contended';
  /** What was stored. */
  readonly head: Head | undefined;
}

/** Rounds of deciding and writing. Every round in vain means that another writer has succeeded. */
const maxRounds = 20;

type Heads = ReadonlyMap<StripeId, Head>;

interface Planned {
  readonly read: WholeRead;
  readonly write: MirrorWrite;
  readonly outcome: 'created' | 'updated' | 'unchanged';
}

/** What one call of `applyReads` has settled. */
interface Settled {
  readonly results: ItemResult[];
  /**
   * Outcomes of writes that looked like a lost race. Another writer may have written right after such a write
   * was applied; then the read finds itself stored, and this is what it did.
   */
  readonly tried: Map<StripeId, Outcome>;
}

/**
 * Decides on each read by its head in the mirror and writes. If another writer interferes, it decides again.
 * @param reads at most one per id
 * @param heads of the mirror, read after the reads were answered; an id without a head counts as new
 */
export async function applyReads(
  mirror: Mirror,
  reads: readonly WholeRead[],
  heads: Heads,
): Promise<Applied> {
  const settled: Settled = { results: [], tried: new Map() };
  const { results, tried } = settled;
  const unsettled: Unsettled[] = [];
  let known = heads;
  let open = reads;
  for (let round = 1; open.length > 0; round += 1) {
    const planned: Planned[] = [];
    const merging: { readonly read: WholeRead; readonly kept: readonly ToldFields[] }[] = [];
    for (const read of open) {
      const head = known.get(read.id);
      const decision = decisionOn(head, read);
      if (decision.kind === 'unsettled') unsettled.push({ id: read.id, reason: decision.reason, head });
      else if (decision.kind !== 'write') results.push(settledResult(read, decision, tried.get(read.id)));
      else if (decision.kept.length > 0) merging.push({ read, kept: decision.kept });
      else planned.push({ read, write: putOf(read, head), outcome: decision.outcome });
    }
    const conflicts = await writeAll(mirror, planned, settled);
    open = [...conflicts, ...(await writeKeeping(mirror, merging, known, settled))];
    if (open.length === 0) break;
    known = await mirror.headsOf(open.map(({ id }) => id));
    if (round < maxRounds) continue;
    return {
      results,
      unsettled: [
        ...unsettled,
        ...open.map(({ id }) => ({ id, reason: 'contended' as const, head: known.get(id) })),
      ],
    };
  }
  return { results, unsettled };
}

function putOf(read: WholeRead, basis: Head | undefined): MirrorWrite {
  const { id, object, hash, observed, source } = read;
  const notAfter = source === 'batch' ? undefined : tooOldAt(read, basis);
  return {
    kind: 'put',
    id,
    writeId: newWriteId(),
    basis,
    object,
    hash,
    observed,
    told: [],
    source,
    notAfter,
  };
}

/** When an answer becomes too old to replace what is stored, on MongoDB's clock. */
function tooOldAt({ receivedAtMs }: WholeRead, basis: Head | undefined): Date | undefined {
  if (basis?.seenAt === undefined) return undefined;
  const ageMs = performance.now() - receivedAtMs;
  return new Date(basis.seenAt.getTime() + Math.ceil(maxAnswerAgeMs - ageMs));
}

/**
 * Writes objects of which parts have told some fields since: these stay as they are stored. Returns the reads
 * whose guard did not hold.
 */
async function writeKeeping(
  mirror: Mirror,
  merging: readonly { readonly read: WholeRead; readonly kept: readonly ToldFields[] }[],
  heads: Heads,
  settled: Settled,
): Promise<WholeRead[]> {
  if (merging.length === 0) return [];
  const stored = await mirror.storedOf(merging.map(({ read }) => read.id));
  const changed: WholeRead[] = [];
  const planned: Planned[] = [];
  for (const { read, kept } of merging) {
    const { head, fields } = stored.get(read.id) ?? {};
    if (head === undefined || fields === undefined || head.writeId !== heads.get(read.id)?.writeId) {
      changed.push(read);
      continue;
    }
    const names = kept.flatMap((told) => told.fields).filter((name) => Object.hasOwn(fields, name));
    const own = Object.fromEntries(names.map((name) => [name, fields[name]]));
    const isEqual = names.every((name) => canonicalJson(fields[name]) === canonicalJson(read.object[name]));
    const write: MirrorWrite = {
      ...putOf(read, head),
      kind: 'put',
      object: { ...read.object, ...own },
      hash: isEqual ? read.hash : undefined,
      observed: read.observed,
      told: kept,
    };
    planned.push({ read, write, outcome: head.hash === read.hash && isEqual ? 'unchanged' : 'updated' });
  }
  return [...changed, ...(await writeAll(mirror, planned, settled))];
}

/** Writes, and adds a result for each settled read. Returns the reads whose guard did not hold. */
async function writeAll(
  mirror: Mirror,
  planned: readonly Planned[],
  { results, tried }: Settled,
): Promise<WholeRead[]> {
  if (planned.length === 0) return [];
  const written = await mirror.write(planned.map(({ write }) => write));
  const conflicts: WholeRead[] = [];
  planned.forEach(({ read, outcome }, index) => {
    const result = resultAt(written, index);
    if (result.kind === 'conflict') {
      tried.set(read.id, outcome);
      conflicts.push(read);
    } else if (result.kind === 'rejected') results.push(failedItem(read.id, result));
    else results.push({ id: read.id, outcome });
  });
  return conflicts;
}

type ReadDecision =
  | Exclude<Decision, { readonly kind: 'overlap' }>
  | { readonly kind: 'unsettled'; readonly reason: 'overlap' | 'too_old' };

function decisionOn(head: Head | undefined, read: WholeRead): ReadDecision {
  const isBatch = read.source === 'batch';
  const isLater = head !== undefined && read.isLaterThan?.(head) === true;
  const decision = isBatch ? decideBatch(head, read, isLater) : decideRead(head, read, isLater);
  if (decision.kind === 'overlap') return { kind: 'unsettled', reason: 'overlap' };
  // An answer that needs no write stays valid at any age.
  if (decision.kind === 'write' && !isBatch && isTooOld(read))
    return { kind: 'unsettled', reason: 'too_old' };
  return decision;
}

const isTooOld = ({ receivedAtMs }: WholeRead): boolean => performance.now() - receivedAtMs > maxAnswerAgeMs;

/** The result of a read that needs no write. @param tried the outcome of a write that met another writer */
export function settledResult(
  { id, source }: Pick<WholeRead, 'id' | 'source'>,
  decision: Exclude<Decision, { readonly kind: 'write' | 'overlap' }>,
  tried?: Outcome,
): ItemResult {
  if (decision.kind === 'unchanged') return { id, outcome: (decision.isOwn && tried) ?? 'unchanged' };
  const { code } = decision;
  // That a read has met a later one is ordinary.
  return source === 'batch' || code === 'deleted_in_stripe'
    ? { id, outcome: 'stale', code }
    : { id, outcome: 'stale' };
}

/**
 * Maximum reads of an object whose answers cannot be ordered. Each read is sent after what is stored was
 * found, so this settles unless other writers come between every time.
 */
const maxReads = 6;

/**
 * Retrieves one object from Stripe and updates the mirror. Reads again while the answer cannot be ordered.
 * @param found what was stored when an earlier read could not be ordered
 */
export async function retrieveAndApply(
  source: Source,
  mirror: Mirror,
  id: StripeId,
  options: CallOptions,
  found?: Head,
): Promise<ItemResult> {
  let askedAfter = found;
  for (let read = 1; read <= maxReads; read += 1) {
    const applied = await applyAnswer(mirror, id, await source.retrieve(id, options), askedAfter);
    if ('outcome' in applied) return applied;
    askedAfter = applied.head;
    options.signal.throwIfAborted();
  }
  return failedItem(id, {
    code: 'unsettled',
    message: `${maxReads} reads differed from those of other writers at the same time`,
  });
}

async function applyAnswer(
  mirror: Mirror,
  id: StripeId,
  answer: RetrieveAnswer,
  /** What was found stored before Stripe was asked. */
  askedAfter: Head | undefined,
): Promise<ItemResult | Unsettled> {
  switch (answer.kind) {
    case 'no_url':
      return failedItem(id, {
        code: 'invalid_id',
        message: 'Stripe cannot be asked for this id, because no URL can name it; scans mirror the object',
      });
    case 'not_in_account':
      return failedItem(id, {
        code: 'not_in_account',
        message: 'Stripe has no such object in this account',
      });
    case 'deleted':
      return confirmDeleted(mirror, id, answer.observed);
    case 'found': {
      const isLaterThan = askedAfter && ((stored: Head) => isSameVersion(askedAfter, stored));
      const reads = toReads([answer.object], { ...answer, isLaterThan }, 'retrieve');
      const { results, unsettled } = await applyReads(mirror, reads, await mirror.headsOf([id]));
      const settled = results[0] ?? unsettled[0];
      if (settled) return settled;
      throw new Fault('internal', 'A read was neither applied nor dropped');
    }
  }
}
