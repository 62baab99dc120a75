// One window, walked page by page, where Stripe's answers lead nowhere.
import { describe, expect, test } from 'vitest';
import type { ListAnswer, Source, StripeId, StripeObject } from '../../src/sync/ports.js';
import { Window } from '../../src/sync/scan/plan.js';
import { fetchPage } from '../../src/sync/scan/walk.js';

const options = { priority: 'scan', signal: new AbortController().signal } as const;

const answer = (objects: readonly StripeObject[]): ListAnswer => ({
  kind: 'page',
  objects,
  invalid: 0,
  hasMore: true,
  stripeTime: 2_000,
  observed: { from: new Date(0), to: new Date(0) },
  receivedAtMs: 0,
});

const answering = (page: () => ListAnswer): Source =>
  ({ list: () => Promise.resolve(page()) }) as unknown as Source; // nothing else is asked of it

describe('a page that says that there is more', () => {
  test('and has no entry to go on after ends the walk with a fault that may pass', async () => {
    const window = new Window({ gte: 0, lt: undefined });

    const fetching = fetchPage(
      answering(() => answer([])),
      window,
      options,
    );

    await expect(fetching).rejects.toMatchObject({ code: 'stripe_invalid_response', kind: 'retryable' });
  });

  test('and is the page before once more, as from a cache, ends the walk with a fault that may pass', async () => {
    const window = new Window({ gte: 0, lt: undefined });
    const same = answering(() => answer([{ id: 'cus_1' as StripeId, created: 1_000 }]));
    await fetchPage(same, window, options);

    const again = fetchPage(same, window, options);

    await expect(again).rejects.toMatchObject({ code: 'stripe_invalid_response', kind: 'retryable' });
    expect(window.isFetched).toBe(false);
  });
});
