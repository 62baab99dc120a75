// A full scan while Stripe refuses much of it, for each of its reasons: nothing is lost, little is asked in vain, and it is fast again.
import { describe, expect, test } from 'vitest';
import type { FaultKind, Limits } from 'stripe-simulator';
import { stateOf } from '../../src/mongo/sync-state.js';
import { createBudget } from '../../src/rate/budget.js';
import { freshDatabase, ours } from '../support/database.js';
import { openScanBench, type ScanBench } from '../support/scan.js';

const pages = 60;
/** Of them those that are listed while the storm lasts. */
const stormPages = 20;
const list = 'GET /v1/customers';
const rates = { callsPerSecond: 60, callsPerSecondPerEndpoint: 60 };
const settings = { ...rates, maxInFlight: 8 };
const open = () =>
  openScanBench(freshDatabase(), { seed: { count: pages * 100 }, latency: { ms: 60 } }, settings);

const callsOf = ({ simulator }: ScanBench): number => simulator.stats.calls[list] ?? 0;
const refusedOf = ({ simulator }: ScanBench): number =>
  Object.values(simulator.stats.refused).reduce((sum, count) => sum + count, 0);

/** As if that much time had passed since Stripe's last refusal. */
const timePasses = (bench: ScanBench, ms: number) => {
  const earlier = (path: string) => ({ $subtract: [{ $ifNull: [`$${path}`, 0] }, ms] });
  return stateOf(ours(bench.db)).updateOne({ _id: 'rate-limiter' }, [
    {
      $set: {
        'whole.cutAt': earlier('whole.cutAt'),
        'inFlight.cutAt': earlier('inFlight.cutAt'),
        [`endpoints.${list}.cutAt`]: earlier(`endpoints.${list}.cutAt`),
      },
    },
  ]);
};

/** Scans, with limits that end when a third of the account has been listed. */
async function scanThrough(bench: ScanBench, storm: () => () => void): Promise<void> {
  const end = storm();
  let listed = 0;
  const source: ScanBench['source'] = {
    ...bench.source,
    list: async (query, options) => {
      const answer = await bench.source.list(query, options);
      if ((listed += 1) === stormPages) end();
      return answer;
    },
  };
  await bench.scan({ source });
}

async function expectPassed(bench: ScanBench): Promise<void> {
  expect(refusedOf(bench)).toBeGreaterThan(0);
  expect(callsOf(bench)).toBeLessThanOrEqual(2 * pages);
  expect(await bench.differences()).toEqual([]);

  await timePasses(bench, 120_000);
  const { callsPerSecond, inFlightShare } = await createBudget(stateOf(ours(bench.db))).take([list], rates);
  expect({ callsPerSecond, inFlightShare }).toEqual({
    callsPerSecond: rates.callsPerSecond,
    inFlightShare: 1,
  });
  const [calls, refused] = [callsOf(bench), refusedOf(bench)];
  await bench.scan({ requestId: 'after the storm' });
  expect(refusedOf(bench)).toBe(refused);
  expect(callsOf(bench) - calls).toBeLessThanOrEqual(pages * 1.5);
}

describe('a scan whose calls Stripe refuses for', () => {
  test.each<[string, Limits]>([
    ['the rate of all calls', { globalPerSecond: 5 }],
    ['the rate of the endpoint', { endpointPerSecond: 5 }],
    ['the rate of all calls, with Retry-After', { globalPerSecond: 5, retryAfterSeconds: 1 }],
    ['the concurrency of all calls', { globalConcurrency: 3 }],
    ['the concurrency of the endpoint', { endpointConcurrency: 3 }],
  ])('%s loses nothing, asks little in vain and is at full speed again', async (_reason, limits) => {
    const bench = await open();

    await scanThrough(bench, () => {
      bench.simulator.setLimits(limits);
      return () => bench.simulator.setLimits(undefined);
    });

    await expectPassed(bench);
  });

  test.each<[string, FaultKind]>([
    ['a resource, in a row', { kind: 'rateLimit', reason: 'resource-specific' }],
    ['a lock, in a row', { kind: 'lockTimeout' }],
    ['the rate, whatever the rate is', { kind: 'rateLimit', reason: 'endpoint-rate' }],
  ])('%s loses nothing, asks little in vain and is at full speed again', async (_reason, fault) => {
    const bench = await open();

    await scanThrough(bench, () => bench.simulator.fault({ ...fault, times: stormPages }).remove);

    await expectPassed(bench);
  });

  test('a lock slows down that call alone', async () => {
    const bench = await open();
    bench.simulator.fault({ kind: 'lockTimeout', times: 5 });

    await bench.scan();

    const { callsPerSecond, inFlightShare } = await createBudget(stateOf(ours(bench.db))).take([list], rates);
    expect({ callsPerSecond, inFlightShare }).toEqual({ callsPerSecond: 60, inFlightShare: 1 });
  });
});
