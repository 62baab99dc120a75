// Walks one window of `created` page by page, newest first. Continues even if the object used as cursor is
// deleted in between.
import { Fault } from '../../base/errors.js';
import { failedItem, type ItemResult, noId } from '../outcome.js';
import {
  type Answer,
  type CallOptions,
  type InvalidEntry,
  isStripeId,
  loggedId,
  type Source,
  type StripeId,
  type StripeObject,
} from '../ports.js';
import type { Window } from './plan.js';

/** What one call added to a window. */
export interface Page extends Answer {
  /** In the window and not seen before, newest first. */
  readonly objects: readonly StripeObject[];
  /** Listed without a usable `created`, so in no interval; they may have been seen before. */
  readonly undated: readonly StripeObject[];
  /** Entries that cannot be mirrored, each as a failed item. */
  readonly invalid: readonly ItemResult[];
  /** Rows that are newer than a row listed before them: Stripe documents newest first. */
  readonly disordered: number;
  /** Listing continues after this id; undefined before the first row of the window. */
  readonly cursor: StripeId | undefined;
  /** The last page of the window. */
  readonly isLast: boolean;
  /** Stripe's clock, unix seconds. */
  readonly stripeTime: number;
}

/** Steps back in a row before the walk starts again at the last second seen. */
const maxCursorFailures = 3;

/**
 * Fetches the next page of a window and advances the window.
 * @returns undefined if the cursor was gone and the window stepped back: call again
 * @throws Fault `stripe_invalid_response` for a page with `has_more` that has no rows or leads to itself: the
 *   walk would never end
 */
export async function fetchPage(
  source: Source,
  window: Window,
  options: CallOptions,
): Promise<Page | undefined> {
  const answer = await source.list(
    {
      gte: window.gte === 0 ? undefined : window.gte,
      lt: window.queryLt,
      startingAfter: window.cursor,
      limit: 100,
      ...(window.testClock !== undefined && { testClock: window.testClock }),
    },
    options,
  );
  if (answer.kind === 'cursor_gone') {
    stepBack(window);
    return undefined;
  }
  const invalid = answer.invalid.map((entry) => invalidItem(entry, window));
  const last = answer.objects.at(-1);
  // A cursor that was used before would lead through the same pages again, and never to an end.
  if (
    answer.hasMore &&
    (last === undefined || last.id === window.cursor || last.id === window.anchor?.cursor)
  ) {
    throw new Fault('stripe_invalid_response', 'Stripe sent a page with has_more that leads to no next page');
  }
  window.cursorFailures = 0;
  const times = answer.objects.map(createdOf).filter((created) => created !== undefined);
  const newest = max(times);
  const oldest = min(times);
  const objects = answer.objects.filter((object) => isNew(window, object));
  const isBelow = oldest !== undefined && oldest < window.gte; // the rest was stolen while this page was in flight
  const disordered = countDisordered(window.lastCreated, objects);
  if (disordered > 0) window.isOrdered = false;
  advance(window, answer.objects, objects);
  if (newest !== undefined && oldest !== undefined) {
    window.lastPage = { rows: answer.objects.length, seconds: newest - oldest };
  }
  window.isFetched = isBelow || !answer.hasMore;
  return {
    objects,
    undated: answer.objects.filter((object) => createdOf(object) === undefined),
    invalid,
    disordered,
    cursor: window.cursor,
    isLast: window.isFetched,
    observed: answer.observed,
    receivedAtMs: answer.receivedAtMs,
    stripeTime: answer.stripeTime,
  };
}

/** Names an entry as well as can be: by its id if there is one, and by where Stripe listed it. */
function invalidItem({ place, id }: InvalidEntry, { cursor, gte, queryLt }: Window): ItemResult {
  const from = gte === 0 ? '' : ` from ${isoTime(gte)}`;
  const until = queryLt === undefined ? '' : ` before ${isoTime(queryLt)}`;
  const page =
    cursor === undefined ? `first page of those created${from}${until}` : `page after ${loggedId(cursor)}`;
  const why =
    id === undefined || !isStripeId(id) ? 'has no usable id' : 'is another kind of object, or deleted';
  return failedItem(id === undefined ? noId : shortened(id), {
    code: 'invalid_object',
    message: `Entry ${place} of the ${page} ${why}`,
  });
}

const isoTime = (seconds: number): string => new Date(seconds * 1_000).toISOString();

/** An id that is none may have any length. */
const shortened = (id: string): string =>
  id === '' ? '(empty)' : Array.from(id.slice(0, 600)).slice(0, 255).join('');

/**
 * Known rows are those of the last page and of the last second. Only a walk that steps back meets them again.
 * A row is known by its id, not its time: a row newer than those before it may be out of order, not repeated.
 */
function isNew(window: Window, object: StripeObject): boolean {
  const created = createdOf(object);
  if (created === undefined || created < window.gte) return false;
  if (window.lastCreated === undefined || created < window.lastCreated) return true;
  return !window.tail.has(object.id) && !window.lastPageIds.has(object.id);
}

/** Fresh rows that are newer than a row before them, in this page or the ones before. */
function countDisordered(lastCreated: number | undefined, fresh: readonly StripeObject[]): number {
  let oldest = lastCreated ?? Infinity;
  let count = 0;
  for (const object of fresh) {
    const created = createdOf(object) ?? oldest;
    if (created > oldest) count += 1;
    else oldest = created;
  }
  return count;
}

const max = (times: readonly number[]): number | undefined =>
  times.length === 0 ? undefined : times.reduce((a, b) => Math.max(a, b));
const min = (times: readonly number[]): number | undefined =>
  times.length === 0 ? undefined : times.reduce((a, b) => Math.min(a, b));

function advance(window: Window, listed: readonly StripeObject[], fresh: readonly StripeObject[]): void {
  for (const object of fresh) {
    const created = createdOf(object);
    if (created === undefined || created > (window.lastCreated ?? Infinity)) continue;
    if (created !== window.lastCreated) window.tail.clear();
    window.lastCreated = created;
    window.tail.add(object.id);
  }
  window.rows += fresh.length;
  // A page that holds only known rows also advances the cursor.
  const last = listed.at(-1);
  if (last) {
    window.cursor = last.id;
    window.anchor = nextAnchor(window.anchor, last.id);
    window.recentIds = listed.map(({ id }) => id);
    window.lastPageIds = new Set(window.recentIds);
  }
}

/** A set of all cursors would grow with the account. One of them finds every circle too, in a few rounds. */
function nextAnchor(anchor: Window['anchor'], cursor: StripeId): Window['anchor'] {
  if (anchor === undefined) return { cursor, pages: 0, forPages: 1 };
  const pages = anchor.pages + 1;
  if (pages < anchor.forPages) return { ...anchor, pages };
  return { cursor, pages: 0, forPages: anchor.forPages * 2 };
}

/** The cursor is gone: continues after the id before it, or starts again at the last second seen. */
function stepBack(window: Window): void {
  window.cursorFailures += 1;
  window.anchor = undefined;
  window.recentIds.pop();
  window.cursor = window.cursorFailures < maxCursorFailures ? window.recentIds.at(-1) : undefined;
  if (window.cursor !== undefined) return;
  window.recentIds = [];
  window.cursorFailures = 0;
  if (window.lastCreated !== undefined && window.testClock === undefined)
    window.queryLt = window.lastCreated + 1;
}

/**
 * Unix seconds. Every object that Stripe lists has them; one without, or with others than whole seconds since
 * 1970, belongs to no window.
 */
export function createdOf(object: StripeObject | undefined): number | undefined {
  const created = object?.['created'];
  return typeof created === 'number' && Number.isInteger(created) && created >= 0 ? created : undefined;
}
