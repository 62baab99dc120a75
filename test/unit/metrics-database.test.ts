// Metrics that are read from the database: seldom, within a deadline, and absent rather than old.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { metricPrefix, metricSpecs } from '../../src/metrics/catalog.js';
import { type Metrics } from '../../src/metrics/metrics.js';
import type { DatabaseStats } from '../../src/status/database-stats.js';
import { metricsOf, scrape, valueOf } from '../support/metrics.js';

describe('metrics of the database', () => {
  const numbers: DatabaseStats = {
    requestsPending: 3,
    requestsRunning: 1,
    oldestPendingAt: new Date(1_700_000_000_500),
    lastCompleteScanAt: { customer: new Date(1_700_000_100_000) },
    mirrorObjects: { customer: { live: 90, deleted: 10 } },
    boundAt: new Date(1_690_000_000_000),
    removalsHeld: { customer: 7 },
    scanLeftOut: { customer: 2 },
    callsThisMonth: 1_234,
  };
  const databaseNames = metricSpecs.filter(([, { scope }]) => scope === 'database').map(([name]) => name);
  const presentIn = async (metrics: Metrics): Promise<string[]> => {
    const families = await scrape(metrics);
    return databaseNames.filter((name) => (families.get(metricPrefix + name)?.samples.length ?? 0) > 0);
  };

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('are absent before MongoDB is there, and all present once it is', async () => {
    const metrics = metricsOf();
    expect(await presentIn(metrics)).toEqual([]);

    metrics.readFrom(async () => numbers);

    expect(await presentIn(metrics)).toEqual(databaseNames);
    expect(await valueOf(metrics, 'requests_pending')).toBe(3);
    expect(await valueOf(metrics, 'oldest_pending_request_timestamp_seconds')).toBe(1_700_000_000.5);
    expect(await valueOf(metrics, 'last_complete_scan_timestamp_seconds', { object: 'customer' })).toBe(
      1_700_000_100,
    );
    expect(await valueOf(metrics, 'mirror_objects', { object: 'customer', state: 'deleted' })).toBe(10);
    expect(await valueOf(metrics, 'removals_held', { object: 'customer' })).toBe(7);
    expect(await valueOf(metrics, 'scan_left_out', { object: 'customer' })).toBe(2);
    expect(await valueOf(metrics, 'stripe_calls_this_month')).toBe(1_234);
  });

  it('are read at most once in 30 s, however often and however many scrape', async () => {
    const metrics = metricsOf();
    const read = vi.fn(async () => numbers);
    metrics.readFrom(read);

    await Promise.all([metrics.render(), metrics.render(), metrics.render()]);
    await vi.advanceTimersByTimeAsync(29_999);
    await metrics.render();
    expect(read).toHaveBeenCalledTimes(1);

    await vi.advanceTimersByTimeAsync(1);
    await metrics.render();
    expect(read).toHaveBeenCalledTimes(2);
  });

  it('are absent while the read fails, not old and not zero, and tell of it once', async () => {
    const onFault = vi.fn();
    const metrics = metricsOf({ onFault });
    let isDown = false;
    metrics.readFrom(async () => {
      if (isDown) throw new Error('down');
      return numbers;
    });
    expect(await presentIn(metrics)).toEqual(databaseNames);

    isDown = true;
    for (let round = 0; round < 3; round += 1) {
      await vi.advanceTimersByTimeAsync(30_000);
      expect(await presentIn(metrics)).toEqual([]);
    }
    expect(onFault).toHaveBeenCalledTimes(1);

    isDown = false;
    await vi.advanceTimersByTimeAsync(30_000);
    expect(await presentIn(metrics)).toEqual(databaseNames);
  });

  it('do not hold a scrape longer than their deadline, and a late answer is not shown', async () => {
    const metrics = metricsOf({ deadlineMs: 3_000 });
    let answer: (late: DatabaseStats) => void = () => undefined;
    let given: AbortSignal | undefined;
    metrics.readFrom((signal) => {
      given = signal;
      return new Promise((resolve) => {
        answer = resolve;
      });
    });

    const rendering = metrics.render();
    await vi.advanceTimersByTimeAsync(3_000);

    expect(await rendering).not.toMatch(/^stripe_sync_requests_pending /m);
    expect(given?.aborted).toBe(true);
    answer(numbers);
    expect(await presentIn(metrics)).toEqual([]);
  });

  it('survive a read that throws at once', async () => {
    const metrics = metricsOf();
    metrics.readFrom(() => {
      throw new Error('at once');
    });
    expect(await presentIn(metrics)).toEqual([]);

    metrics.readFrom(async () => numbers);
    expect(await presentIn(metrics)).toEqual(databaseNames);
  });

  it('leave out the oldest request when none waits, and scans before the first complete one', async () => {
    const metrics = metricsOf();
    metrics.readFrom(async () => ({ ...numbers, oldestPendingAt: undefined, lastCompleteScanAt: {} }));

    const unknown = ['oldest_pending_request_timestamp_seconds', 'last_complete_scan_timestamp_seconds'];
    expect(await presentIn(metrics)).toEqual(databaseNames.filter((name) => !unknown.includes(name)));
  });

  it('are absent again once MongoDB is closed', async () => {
    const metrics = metricsOf();
    metrics.readFrom(async () => numbers);
    await metrics.render();

    metrics.readFrom(undefined);

    expect(await presentIn(metrics)).toEqual([]);
  });
});
