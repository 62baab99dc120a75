// One window, walked page by page, where Stripe's answers lead nowhere.
import { describe, expect, test } from 'vitest';
import type { ListAnswer, Source, StripeId, StripeObject } from '../../src/sync/ports.js';
import { fetchWindows } from '../../src/sync/scan/list-windows.js';
import { Plan, Window } from '../../src/sync/scan/plan.js';

const answer = (objects: readonly StripeObject[]): ListAnswer => ({
  kind: 'page',
  objects,
  invalid: [],
  hasMore: true,
  stripeTime: 2_000,
  observed: { from: new Date(0), to: new Date(0) },
  receivedAtMs: 0,
});

/** Walks the window to its end; every page is this one. */
const walk = (window: Window, page: ListAnswer): Promise<void> =>
  fetchWindows(new Plan([window]), {
    source: { listsAtOnce: () => 1, list: () => Promise.resolve(page) } as unknown as Source, // nothing else is asked of it
    signal: new AbortController().signal,
    room: () => Promise.resolve(),
    onPage: () => undefined,
  });

describe('a page that says that there is more', () => {
  test('and has no entry to go on after ends the walk with a fault that may pass', async () => {
    const window = new Window({ gte: 0, lt: undefined });

    const walking = walk(window, answer([]));

    await expect(walking).rejects.toMatchObject({ code: 'stripe_invalid_response', kind: 'retryable' });
  });

  test('and is the page before once more, as from a cache, ends the walk with a fault that may pass', async () => {
    const window = new Window({ gte: 0, lt: undefined });

    const walking = walk(window, answer([{ id: 'cus_1' as StripeId, created: 1_000 }]));

    await expect(walking).rejects.toMatchObject({ code: 'stripe_invalid_response', kind: 'retryable' });
    expect(window.isFetched).toBe(false);
  });
});
