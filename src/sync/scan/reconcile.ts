// Brings the mirror in line with a run of pages of one window: one read of heads in the same interval of `created` tells new,
// changed, unchanged and missing.
import { setImmediate } from 'node:timers/promises';
import { applyReads, retrieveAndApply, settledResult, toReads, type WholeRead } from '../apply.js';
import { decideWithoutOrder } from '../decide.js';
import type { ItemResult } from '../outcome.js';
import type { CreatedRange, Head, ListedHead, Mirror, Source, StripeId } from '../ports.js';
import type { Window } from './plan.js';
import { createdOf, type Page } from './walk.js';

export interface Reconciled {
  readonly results: readonly ItemResult[];
  /** Moves the window's settled part on. */
  readonly settle: () => void;
}

export interface ReconcileContext {
  readonly source: Source;
  readonly mirror: Mirror;
  /** Only what was created in this range may be found missing. */
  readonly conclusive: CreatedRange;
  /**
   * Keeps ids that are stored, alive, and not listed where they would have to be, at most `maxMissing` at once. They are no more than
   * suspects: absence is no proof.
   */
  readonly onMissing: (ids: readonly StripeId[]) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Of an interval that has lost everybody the mirror may hold any number: so many are told before more are read. */
const maxMissing = 1_000;

/**
 * Reconciles consecutive pages. Idempotent: after a fault the same pages can come again.
 * Several objects share a second on both sides of a page, so the last second of a run stays open, with the ids seen of it, until a
 * later page or the window's end closes it.
 */
export async function reconcile(
  window: Window,
  pages: readonly Page[],
  context: ReconcileContext,
): Promise<Reconciled> {
  const { source, mirror, signal } = context;
  const reads = new Map<StripeId, WholeRead>();
  for (const page of pages) {
    for (const read of toReads(page.objects, page, 'list')) reads.set(read.id, read);
    // Hashing is the work of a page: requests that wait for this process wait for one of them, not for a run.
    await setImmediate();
  }

  const isLast = pages.at(-1)?.isLast ?? false;
  const lastCreated =
    createdOf(pages.flatMap(({ objects }) => objects.slice(-1)).at(-1)) ?? window.openSecond;
  const heads = await readHeads(window, reads, { isLast, lastCreated }, context);

  const { results, open } = settleUnchanged(reads.values(), heads);
  const applied = await applyReads(mirror, open, await fullHeadsOf(open, heads, mirror));
  results.push(...applied.results);
  for (const id of applied.unsettled) {
    results.push(await retrieveAndApply(source, mirror, id, { priority: 'scan', signal }));
  }
  for (const { invalid } of pages) {
    for (let index = 0; index < invalid; index += 1) {
      results.push({
        id: '(invalid)',
        outcome: 'failed',
        code: 'invalid_object',
        message: 'Stripe listed an entry without id or created',
      });
    }
  }
  const settle = (): void => {
    moveOn(window, pages, { isLast, lastCreated });
  };
  return { results, settle };
}

interface Settled {
  /** Of what is as it was, which on most days is nearly everything, and of what Stripe has deleted. */
  readonly results: ItemResult[];
  /** New, or changed. */
  readonly open: readonly WholeRead[];
}

function settleUnchanged(reads: Iterable<WholeRead>, heads: ReadonlyMap<StripeId, ListedHead>): Settled {
  const results: ItemResult[] = [];
  const open: WholeRead[] = [];
  for (const read of reads) {
    const decision = decideWithoutOrder(heads.get(read.id), read.hash);
    if (decision === 'unchanged' || decision === 'refused') results.push(settledResult(read.id, decision));
    else open.push(read);
  }
  return { results, open };
}

/** Those of the changed ones; of the new ones there are none. */
async function fullHeadsOf(
  open: readonly WholeRead[],
  heads: ReadonlyMap<StripeId, ListedHead>,
  mirror: Mirror,
): Promise<ReadonlyMap<StripeId, Head>> {
  const changed = open.filter(({ id }) => heads.has(id)).map(({ id }) => id);
  return changed.length === 0 ? new Map() : mirror.headsOf(changed);
}

interface Reach {
  readonly isLast: boolean;
  /** Second of the oldest row so far; it may go on in the next page. */
  readonly lastCreated: number | undefined;
}

/** One pass over the stored heads of the interval: returns those that were listed, tells of those that were not. */
async function readHeads(
  window: Window,
  reads: ReadonlyMap<StripeId, WholeRead>,
  { isLast, lastCreated }: Reach,
  { mirror, conclusive, onMissing, signal }: ReconcileContext,
): Promise<ReadonlyMap<StripeId, ListedHead>> {
  const heads = new Map<StripeId, ListedHead>();
  const missing: StripeId[] = [];
  if (!isLast && lastCreated === undefined) return heads;
  // Of a second that stays open nobody is missing yet, and it may hold any number of others: read with each page, they would be read over
  // and over.
  if (!isLast && lastCreated !== undefined && lastCreated + 1 === window.settledFrom)
    return mirror.headsOf([...reads.keys()]);
  const gte = isLast ? window.gte : lastCreated;
  // All of a second is known once the walk has left it.
  const knownFrom = isLast ? window.gte : (lastCreated ?? 0) + 1;
  for await (const batch of mirror.heads({ gte, lt: window.settledFrom }, signal)) {
    for (const head of batch) {
      if (reads.has(head.id)) heads.set(head.id, head);
      else if (isMissing(head, window, knownFrom, conclusive)) missing.push(head.id);
      if (missing.length === maxMissing) await onMissing(missing.splice(0));
    }
  }
  await onMissing(missing);
  return heads;
}

function isMissing(head: ListedHead, window: Window, knownFrom: number, conclusive: CreatedRange): boolean {
  const { created } = head;
  if (created === undefined || created < knownFrom || head.deletedBy === 'stripe') return false;
  if (created === window.openSecond && window.openIds.has(head.id)) return false;
  return created >= (conclusive.gte ?? 0) && (conclusive.lt === undefined || created < conclusive.lt);
}

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
