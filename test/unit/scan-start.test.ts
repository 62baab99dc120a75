// T0, from which on a scan lists once more what was created meanwhile: never later than Stripe's clock when the scan began, whichever answer
// comes first and however long it took.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { volatileScanState } from '../../src/sync/dry-run.js';
import { ScanProgress } from '../../src/sync/scan/progress.js';
import { newCheckpoint } from '../../src/sync/scan/state.js';

/** Seconds since the scan began. */
interface Call {
  computedAt: number;
  /** Until Stripe writes the `Date` header. */
  dated: number;
  /** Until the whole answer is there. */
  received: number;
}

const seconds = (max: number) => fc.double({ min: 0, max, noNaN: true });
const calls: fc.Arbitrary<Call[]> = fc.array(
  fc.record({ computedAt: seconds(3_600), dated: seconds(600), received: seconds(600) }),
  { minLength: 1, maxLength: 12 },
);

const begin = (): ScanProgress =>
  new ScanProgress(
    newCheckpoint('scan', { requestId: 'r', apiVersion: 'v', livemode: false, nowMs: 0 }),
    volatileScanState(),
  );

test('T0 is no later than any page was computed, in whatever order the answers come', () => {
  fc.assert(
    fc.property(calls, fc.integer({ min: 1_600_000_000, max: 1_900_000_000 }), (made, stripeNow) => {
      const beganAtMs = performance.now();
      const progress = begin();

      // In the order of the array, which is any.
      for (const { computedAt, dated, received } of made) {
        const observed = { from: new Date(0), to: new Date(0) };
        const stripeTime = Math.floor(stripeNow + computedAt + dated);
        // What the scan's own clock says of that moment; the scan may have begun a little later than it was looked at here.
        const receivedAtMs = beganAtMs + (computedAt + dated + received) * 1_000;
        progress.listed({ stripeTime, receivedAtMs, observed });
        expect(progress.t0).toBeLessThanOrEqual(stripeNow + 0.1);
      }

      const firstComputed = Math.min(...made.map(({ computedAt }) => computedAt));
      expect(progress.t0).toBeLessThanOrEqual(stripeNow + firstComputed + 0.1);
      // Nor is it earlier than it has to be: by no more than an answer takes.
      const slowest = Math.max(...made.map(({ received }) => received));
      expect(progress.t0).toBeGreaterThanOrEqual(stripeNow - slowest - 2);
    }),
  );
});

test('T0 stays where it was when a scan is gone on with later', () => {
  const first = begin();
  first.listed({ stripeTime: 1_700_000_000, receivedAtMs: performance.now(), observed: never });
  const resumed = new ScanProgress(first.snapshot(), volatileScanState());

  resumed.listed({ stripeTime: 1_700_009_000, receivedAtMs: performance.now(), observed: never });

  expect(resumed.t0).toBe(first.t0);
});

const never = { from: new Date(0), to: new Date(0) };
