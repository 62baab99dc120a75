// Walks one window of `created` page by page, newest first; survives that the object used as cursor is deleted meanwhile.
import { Fault } from '../../base/errors.js';
import type { Answer, CallOptions, Source, StripeId, StripeObject } from '../ports.js';
import type { Window } from './plan.js';

/** What one call added to a window. */
export interface Page extends Answer {
  /** In the window, not seen before, newest first. */
  readonly objects: readonly StripeObject[];
  /** Entries that were no objects with an id and a `created`. */
  readonly invalid: number;
  /** Listing goes on after this id; undefined where the window has given no row yet. */
  readonly cursor: StripeId | undefined;
  /** The window ends with this page. */
  readonly isLast: boolean;
  /** Stripe's clock, unix seconds. */
  readonly stripeTime: number;
}

/** Steps back in a row before the walk starts again below what it has seen. */
const maxCursorFailures = 3;

/**
 * Fetches the next page of the window and moves the window's fetching on.
 * @returns undefined when the cursor was gone and the window stepped back: call again
 * @throws Fault `stripe_invalid_response` (retryable) for a page that says there is more and does not lead there: the walk would never end
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
    },
    options,
  );
  if (answer.kind === 'cursor_gone') {
    stepBack(window);
    return undefined;
  }
  const last = answer.objects.at(-1);
  if (answer.hasMore && (last === undefined || last.id === window.cursor)) {
    throw new Fault('stripe_invalid_response', 'Stripe says that more follows a page, but not after whom', {
      kind: 'retryable',
    });
  }
  window.cursorFailures = 0;
  const newest = createdOf(answer.objects[0]);
  const oldest = createdOf(last);
  const objects = answer.objects.filter((object) => isNew(window, object));
  const isBelow = oldest !== undefined && oldest < window.gte; // the rest was stolen while this page was on its way
  advance(window, answer.objects, objects);
  if (newest !== undefined && oldest !== undefined) {
    window.lastPage = { rows: answer.objects.length, seconds: newest - oldest };
  }
  window.isFetched = isBelow || !answer.hasMore;
  return {
    objects,
    invalid: answer.invalid + answer.objects.filter((object) => createdOf(object) === undefined).length,
    cursor: window.cursor,
    isLast: window.isFetched,
    observed: answer.observed,
    receivedAtMs: answer.receivedAtMs,
    stripeTime: answer.stripeTime,
  };
}

/** Listing is newest first: what is above the last row was seen, and of its second the ids in the tail. */
function isNew(window: Window, object: StripeObject): boolean {
  const created = createdOf(object);
  if (created === undefined || created < window.gte) return false;
  if (window.lastCreated === undefined || created < window.lastCreated) return true;
  return created === window.lastCreated && !window.tail.has(object.id);
}

function advance(window: Window, listed: readonly StripeObject[], fresh: readonly StripeObject[]): void {
  for (const object of fresh) {
    const created = createdOf(object);
    if (created === undefined) continue;
    if (created !== window.lastCreated) window.tail.clear();
    window.lastCreated = created;
    window.tail.add(object.id);
  }
  window.rows += fresh.length;
  // Also a page of nothing but known rows moves the cursor on.
  const last = listed.at(-1);
  if (last) {
    window.cursor = last.id;
    window.recentIds = listed.map(({ id }) => id);
  }
}

/** `resource_missing` on the cursor: goes on after the id before it, or starts again at the last second seen. */
function stepBack(window: Window): void {
  window.cursorFailures += 1;
  window.recentIds.pop();
  window.cursor = window.cursorFailures < maxCursorFailures ? window.recentIds.at(-1) : undefined;
  if (window.cursor !== undefined) return;
  window.recentIds = [];
  window.cursorFailures = 0;
  if (window.lastCreated !== undefined) window.queryLt = window.lastCreated + 1;
}

/** Every object that Stripe lists has `created`; one without could be placed in no window. */
export function createdOf(object: StripeObject | undefined): number | undefined {
  const created = object?.['created'];
  return typeof created === 'number' ? created : undefined;
}
