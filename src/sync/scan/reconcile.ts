// Reconciles a run of pages of one window with the mirror. One read of heads in the same interval of
// `created` shows which objects are new, changed, unchanged or missing.
import { nextTurn } from '../../base/waiting.js';
import { applyReads, retrieveAndApply, settledResult, toReads, type WholeRead } from '../apply.js';
import { decideWithoutOrder } from '../decide.js';
import type { ItemResult } from '../outcome.js';
import type { CreatedRange, Head, ListedHead, Mirror, Source, StripeId } from '../ports.js';
import type { Window } from './plan.js';
import { createdOf, type Page } from './walk.js';

export interface Reconciled {
  readonly results: readonly ItemResult[];
  /** Objects that no interval holds, and those stored outside this one, with another `created` or none. */
  readonly elsewhere: readonly StripeId[];
  /** Advances the settled part of the window. */
  readonly settle: () => void;
}

export interface ReconcileContext {
  readonly source: Source;
  readonly mirror: Mirror;
  /** Only objects created in this range are settled or found missing; all others are passed over. */
  readonly range: CreatedRange;
  /**
   * Keeps ids that are stored and alive but not listed, at most `maxMissing` at once. Absence is no proof:
   * they are suspects.
   */
  readonly onMissing: (ids: readonly StripeId[]) => Promise<void>;
  readonly signal: AbortSignal;
}

/** How many missing ids are passed on before more heads are read: an interval may have lost any number. */
const maxMissing = 1_000;

/**
 * Reconciles consecutive pages. Idempotent: after a fault the same pages can come again. Objects on both
 * sides of a page may share a second. So the last second of a run stays open, with the ids seen of it, until
 * a later page or the window's end.
 */
export async function reconcile(
  window: Window,
  pages: readonly Page[],
  context: ReconcileContext,
): Promise<Reconciled> {
  const { source, mirror, range, signal } = context;
  const reads = new Map<StripeId, WholeRead>();
  for (const page of pages) {
    const objects = page.objects.filter((object) => isWithin(range, createdOf(object)));
    for (const read of toReads(objects, page, 'list')) reads.set(read.id, read);
    // Hashing a page takes a while. Yielding after each page makes other work of this process wait for one
    // page, not for a run.
    await nextTurn();
  }

  const isLast = pages.at(-1)?.isLast ?? false;
  const lastCreated = oldestOf(pages, window.openSecond);
  const heads = await readHeads(window, reads, { isLast, lastCreated }, context);

  const results = await settleReads([...reads.values()], heads, { source, mirror, signal });
  const elsewhere = results.filter(({ id, outcome }) => outcome !== 'created' && !heads.has(id as StripeId));
  const undated = undatedOf(pages);
  results.push(...(await settleById(undated, context)));
  for (const { invalid } of pages) results.push(...invalid);
  const settle = (): void => {
    moveOn(window, pages, { isLast, lastCreated });
  };
  const ids = elsewhere.map(({ id }) => id as StripeId); // ids of listed objects
  return { results, elsewhere: [...ids, ...undated.map(idOf)], settle };
}

/** Reconciles a page by ids alone: objects of a test clock lie anywhere in time. None is found missing. */
export async function reconcileById(page: Page, context: SettleContext): Promise<readonly ItemResult[]> {
  const reads = [...toReads(page.objects, page, 'list'), ...undatedOf([page])];
  return [...(await settleById(reads, context)), ...page.invalid];
}

type SettleContext = Pick<ReconcileContext, 'source' | 'mirror' | 'signal'>;

async function settleById(reads: readonly WholeRead[], context: SettleContext): Promise<ItemResult[]> {
  if (reads.length === 0) return [];
  return settleReads(reads, await context.mirror.headsOf(reads.map(idOf)), context);
}

/** One result for each read. */
async function settleReads(
  reads: readonly WholeRead[],
  heads: ReadonlyMap<StripeId, ListedHead>,
  { source, mirror, signal }: SettleContext,
): Promise<ItemResult[]> {
  const { results, open } = settleUnchanged(reads, heads);
  const applied = await applyReads(mirror, open, await fullHeadsOf(open, heads, mirror));
  results.push(...applied.results);
  for (const { id, head } of applied.unsettled) {
    results.push(await retrieveAndApply(source, mirror, id, { priority: 'scan', signal }, head));
  }
  return results;
}

const idOf = ({ id }: WholeRead): StripeId => id;

/** The objects without a usable `created`, each once. */
function undatedOf(pages: readonly Page[]): readonly WholeRead[] {
  const reads = new Map<StripeId, WholeRead>();
  for (const page of pages) {
    if (page.undated.length === 0) continue;
    for (const read of toReads(page.undated, page, 'list')) reads.set(read.id, read);
  }
  return [...reads.values()];
}

/**
 * Settles unchanged objects, on most days nearly all of them, and confirmed deletions. New and changed
 * objects stay open.
 */
function settleUnchanged(reads: Iterable<WholeRead>, heads: ReadonlyMap<StripeId, ListedHead>) {
  const results: ItemResult[] = [];
  const open: WholeRead[] = [];
  for (const read of reads) {
    const decision = decideWithoutOrder(heads.get(read.id), read.hash);
    if (decision?.kind === 'unchanged' || decision?.kind === 'stale')
      results.push(settledResult(read, decision));
    else open.push(read);
  }
  return { results, open };
}

/** Heads of the changed objects; new ones have none. */
async function fullHeadsOf(
  open: readonly WholeRead[],
  heads: ReadonlyMap<StripeId, ListedHead>,
  mirror: Mirror,
): Promise<ReadonlyMap<StripeId, Head>> {
  const changed = open.filter(({ id }) => heads.has(id)).map(({ id }) => id);
  return changed.length === 0 ? new Map() : mirror.headsOf(changed);
}

/** The oldest second so far; rows out of order do not move it up again. */
function oldestOf(pages: readonly Page[], before: number | undefined): number | undefined {
  let oldest = before;
  for (const { objects } of pages) {
    for (const object of objects) {
      const created = createdOf(object);
      if (created !== undefined && (oldest === undefined || created < oldest)) oldest = created;
    }
  }
  return oldest;
}

interface Reach {
  readonly isLast: boolean;
  /** Second of the oldest row so far; the next page may have more of it. */
  readonly lastCreated: number | undefined;
}

/**
 * Reads the stored heads of the interval. Returns those that were listed and passes on the others as missing.
 */
async function readHeads(
  window: Window,
  reads: ReadonlyMap<StripeId, WholeRead>,
  { isLast, lastCreated }: Reach,
  { mirror, range, onMissing, signal }: ReconcileContext,
): Promise<ReadonlyMap<StripeId, ListedHead>> {
  const heads = new Map<StripeId, ListedHead>();
  const missing: StripeId[] = [];
  if (!isLast && lastCreated === undefined) return heads;
  // Nothing in an open second is missing yet. A second may hold any number of objects, so they are not read
  // again with each page.
  if (!isLast && lastCreated !== undefined && lastCreated + 1 === window.settledFrom)
    return mirror.headsOf([...reads.keys()]);
  const gte = isLast ? window.gte : lastCreated;
  // A second is complete once the walk has left it.
  const knownFrom = isLast ? window.gte : (lastCreated ?? 0) + 1;
  for await (const batch of mirror.heads({ gte, lt: lowest(window.settledFrom, range.lt) }, signal)) {
    for (const head of batch) {
      if (reads.has(head.id)) heads.set(head.id, head);
      else if (window.isOrdered && isMissing(head, window, knownFrom, range)) missing.push(head.id);
      if (missing.length === maxMissing) await onMissing(missing.splice(0));
    }
  }
  await onMissing(missing);
  return heads;
}

function isMissing(head: ListedHead, window: Window, knownFrom: number, range: CreatedRange): boolean {
  const { created } = head;
  if (created === undefined || created < knownFrom || head.deletedBy === 'stripe') return false;
  if (created === window.openSecond && window.openIds.has(head.id)) return false;
  return isWithin(range, created);
}

const isWithin = ({ gte = 0, lt = Infinity }: CreatedRange, created: number | undefined): boolean =>
  created !== undefined && created >= gte && created < lt;

const lowest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);

function moveOn(window: Window, pages: readonly Page[], { isLast, lastCreated }: Reach): void {
  window.settledCursor = pages.at(-1)?.cursor ?? window.settledCursor;
  if (lastCreated !== undefined) {
    if (lastCreated !== window.openSecond) window.openIds = new Set();
    for (const page of pages) {
      for (const object of page.objects) if (createdOf(object) === lastCreated) window.openIds.add(object.id);
    }
    window.openSecond = lastCreated;
    window.settledFrom = lastCreated + 1;
  }
  if (isLast) {
    window.isDone = true;
    window.openIds = new Set();
  }
}
