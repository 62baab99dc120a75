import { describe, expect, it } from 'vitest';
import { catalog, metricPrefix, metricSpecs } from '../../src/metrics/catalog.js';
import type { Metrics } from '../../src/metrics/metrics.js';
import type { MirrorObserver } from '../../src/mirror/mirror.js';
import type { RequestsObserver } from '../../src/requests/observer.js';
import { resources } from '../../src/resources/registry.js';
import type { ScheduleObserver } from '../../src/schedule/schedule.js';
import { RefusedWrites, writtenParts } from '../../src/mongo/refused-writes.js';
import { type KeyRefusal, keyRefusals } from '../../src/stripe/key.js';
import type { StripeObserver } from '../../src/stripe/observer.js';
import { Tally } from '../../src/sync/outcome.js';
import { metricsOf, parseNumber, samplesOf, scrape, valueOf } from '../support/metrics.js';

interface States {
  /** 0: unlimited. */
  rate: number;
  maxRate: number;
  refusals: KeyRefusal[];
  polledAt: number;
}

/** Has the metrics show these states of a gateway and a worker, as they are at each scrape. */
function showing(metrics: Metrics, known: Partial<States>): States {
  const states = { rate: 0, maxRate: 0, refusals: [], polledAt: performance.now(), ...known };
  metrics.showStatesOf({
    gateway: {
      effectiveRate: () => states.rate,
      get configuredRate() {
        return states.maxRate;
      },
      keyRefusals: () => states.refusals,
    },
    worker: {
      get lastPollAt() {
        return states.polledAt;
      },
    },
  });
  return states;
}

describe('the observers of all parts', () => {
  it('are satisfied by the one of the metrics, and labels are the same on both sides', () => {
    const { observer } = metricsOf();
    const all: RequestsObserver & StripeObserver & ScheduleObserver & MirrorObserver = observer;

    expect(all).toBeDefined();
    for (const { list, retrieve } of resources) {
      expect(catalog.stripe_calls_total.labels.endpoint).toContain(list.endpoint);
      expect(catalog.stripe_calls_total.labels.endpoint).toContain(retrieve.endpoint);
    }
    expect(catalog.request_failures_total.labels.code.length).toBeGreaterThan(30);
  });
});

describe('the catalog', () => {
  it('names counters _total and nothing else, times in seconds, and no gauge like a counter without _total', () => {
    const names = metricSpecs.map(([name]) => name as string);
    const counters = metricSpecs.filter(([, { type }]) => type === 'counter').map(([name]) => name);

    expect(metricSpecs.filter(([name]) => name.endsWith('_total')).map(([name]) => name)).toEqual(counters);
    expect(
      counters.map((name) => name.replace(/_total$/, '')).filter((stem) => names.includes(stem)),
    ).toEqual([]);
    expect(names.filter((name) => /_(ms|millis|minutes|percent)/.test(name))).toEqual([]);
    for (const [name, spec] of metricSpecs) {
      if (spec.type === 'histogram') expect(name).toMatch(/_seconds$/);
      expect(spec.help).toMatch(/^[A-Z].*\.$|Inf: unlimited\.$/);
    }
  });
});

describe('a scrape', () => {
  it('has every metric of the catalog with its help and type, and Node’s own', async () => {
    const families = await scrape(metricsOf());

    for (const [name, { help, type }] of metricSpecs) {
      expect(families.get(metricPrefix + name), name).toMatchObject({ help, type });
    }
    expect([...families.keys()]).toEqual(
      expect.arrayContaining([
        'process_resident_memory_bytes',
        'nodejs_eventloop_lag_p99_seconds',
        'nodejs_heap_size_used_bytes',
      ]),
    );
  });

  it('gives no gauge a name that ends in _total, Node’s own included', async () => {
    const gauges = [...(await scrape(metricsOf()))]
      .filter(([, { type }]) => type !== 'counter')
      .map(([name]) => name);

    expect(gauges.filter((name) => name.endsWith('_total'))).toEqual([]);
  });

  it('starts every closed series at 0, so that the first event shows in a rate', async () => {
    const metrics = metricsOf();

    expect(await samplesOf(metrics, 'requests_total')).toHaveLength(
      catalog.requests_total.labels.command.length * catalog.requests_total.labels.status.length,
    );
    expect(
      await valueOf(metrics, 'stripe_calls_total', { endpoint: 'GET /v1/customers', outcome: 'timeout' }),
    ).toBe(0);
    expect(
      await valueOf(metrics, 'stripe_call_duration_seconds_count', { endpoint: 'GET /v1/customers/{id}' }),
    ).toBe(0);
    expect(await valueOf(metrics, 'request_wait_seconds_bucket', { le: '+Inf' })).toBe(0);
    expect(await valueOf(metrics, 'objects_total', { object: 'customer', outcome: 'deleted' })).toBe(0);
  });

  it('says what runs', async () => {
    expect(await samplesOf(metricsOf(), 'build_info')).toEqual([
      {
        name: 'stripe_sync_build_info',
        labels: {
          version: expect.stringMatching(/^\d/) as string,
          node: process.versions.node,
          stripe_api_version: '2026-10-28.endive',
        },
        value: 1,
      },
    ]);
  });

  it('has the buckets of the catalog, in seconds', async () => {
    const buckets = (await samplesOf(metricsOf(), 'stripe_call_duration_seconds'))
      .filter(({ name, labels }) => name.endsWith('_bucket') && labels['endpoint'] === 'GET /v1/customers')
      .map(({ labels }) => parseNumber(labels['le'] ?? ''));

    expect(buckets).toEqual([...catalog.stripe_call_duration_seconds.buckets, Infinity]);
  });

  it('shares nothing with another one in the same process', async () => {
    const [first, second] = [metricsOf(), metricsOf()];

    first.observer.writeFinished(0.004);

    expect(await valueOf(first, 'mongodb_write_duration_seconds_count')).toBe(1);
    expect(await valueOf(second, 'mongodb_write_duration_seconds_count')).toBe(0);
  });
});

describe('events', () => {
  it('of requests count requests by status, objects by outcome, and measure the last attempt', async () => {
    const metrics = metricsOf();
    const tally = new Tally();
    for (let each = 0; each < 3; each += 1) tally.count('created');
    tally.count('failed');

    metrics.observer.requestClaimed({ command: 'syncByIds', lane: 'small', waitSeconds: 0.02 });
    metrics.observer.requestEnded({
      command: 'syncByIds',
      status: 'partial',
      seconds: 2,
      result: tally.result(),
      count: 1,
    });
    metrics.observer.requestEnded({
      command: 'syncAll',
      status: 'coalesced',
      seconds: undefined,
      result: undefined,
      count: 4,
    });

    expect(await valueOf(metrics, 'requests_total', { command: 'syncByIds', status: 'partial' })).toBe(1);
    expect(await valueOf(metrics, 'requests_total', { command: 'syncAll', status: 'coalesced' })).toBe(4);
    expect(await valueOf(metrics, 'request_duration_seconds_sum', { command: 'syncByIds' })).toBe(2);
    expect(await valueOf(metrics, 'request_duration_seconds_count', { command: 'syncAll' })).toBe(0);
    expect(await valueOf(metrics, 'request_wait_seconds_bucket', { lane: 'small', le: '0.05' })).toBe(1);
    expect(await valueOf(metrics, 'objects_total', { outcome: 'created' })).toBe(3);
    expect(await valueOf(metrics, 'objects_total', { outcome: 'failed' })).toBe(1);
  });

  it('of requests that failed count by the code of their error, and of no others', async () => {
    const metrics = metricsOf();
    const ended = { command: 'syncByIds', seconds: 1, result: undefined, count: 1 } as const;

    metrics.observer.requestEnded({ ...ended, status: 'failed', code: 'stripe_unavailable' });
    metrics.observer.requestEnded({ ...ended, status: 'failed' });
    metrics.observer.requestEnded({ ...ended, status: 'partial', code: 'invalid_id' });

    const failures = (await samplesOf(metrics, 'request_failures_total')).filter(({ value }) => value > 0);
    expect(failures.map(({ labels }) => labels['code']).sort()).toEqual(['internal', 'stripe_unavailable']);
  });

  it('of the key tell each reason for which it is refused, until it no longer is', async () => {
    const metrics = metricsOf();
    const refused = async (): Promise<unknown[]> =>
      (await samplesOf(metrics, 'stripe_key_refused'))
        .filter(({ value }) => value === 1)
        .map(({ labels }) => labels['reason']);

    const states = showing(metrics, { refusals: ['key_refused', 'new_key_account_mismatch'] });
    expect(await refused()).toEqual(['key_refused', 'new_key_account_mismatch']);

    states.refusals = [];
    expect(await refused()).toEqual([]);
    expect(await samplesOf(metrics, 'stripe_key_refused')).toHaveLength(keyRefusals.length);
  });

  it('of refused writes tell each part', async () => {
    const metrics = metricsOf();
    const refused = async (): Promise<unknown[]> =>
      (await samplesOf(metrics, 'mongodb_refuses_writes'))
        .filter(({ value }) => value === 1)
        .map(({ labels }) => labels['part']);
    showing(metrics, {});
    expect(await refused()).toEqual([]);

    metrics.observer.writesRefused('mirror');
    metrics.observer.writesRefused('state');
    expect(await refused()).toEqual(['mirror', 'state']);

    expect(await samplesOf(metrics, 'mongodb_refuses_writes')).toHaveLength(writtenParts.length);
  });

  it('of refused writes end when one is taken, but not within a minute: others may be taken in between', () => {
    let now = 0;
    const refused = new RefusedWrites(() => now);

    refused.writesAccepted('mirror');
    expect(refused.has('mirror')).toBe(false);
    refused.writesRefused('mirror');
    refused.writesAccepted('mirror');
    now = 59_999;
    expect(refused.has('mirror')).toBe(true);
    now = 60_000;
    expect(refused.has('mirror')).toBe(false);
    refused.writesRefused('mirror');
    now = 240_000;
    expect(refused.has('mirror')).toBe(true);
    refused.writesAccepted('mirror');
    expect(refused.has('mirror')).toBe(false);
  });

  it('of refused writes end after an hour in which nothing is written', () => {
    let now = 0;
    const refused = new RefusedWrites(() => now);

    refused.writesRefused('mirror');
    now = 3_599_999;
    expect(refused.has('mirror')).toBe(true);
    now = 3_600_000;
    expect(refused.has('mirror')).toBe(false);
  });

  it('of the schedule, the poll and the settings are gauges that are absent before', async () => {
    const metrics = metricsOf();
    const names = [
      'schedule_interval_seconds',
      'last_poll_timestamp_seconds',
      'rate_limiter_max_calls_per_second',
    ] as const;
    for (const name of names) expect(await samplesOf(metrics, name)).toEqual([]);

    metrics.observer.scheduleStarted({ schedule: 'syncAll', intervalSeconds: 86_400 });
    showing(metrics, { polledAt: performance.now() - 2_000, maxRate: 0 });

    const [interval, polledAt, rate] = await Promise.all(names.map((name) => valueOf(metrics, name)));
    expect(interval).toBe(86_400);
    expect(polledAt).toBeLessThanOrEqual(Date.now() / 1_000 - 2);
    expect(rate).toBe(Infinity);
  });

  it('of calls to Stripe count by endpoint and outcome, and measure calls and waits', async () => {
    const metrics = metricsOf();
    const endpoint = 'GET /v1/customers/{id}';

    metrics.observer.callFinished({ endpoint, outcome: 'not_found', seconds: 0.3 });
    metrics.observer.rateLimited('endpoint-rate');
    metrics.observer.slotWaited(0.1);
    const states = showing(metrics, { rate: 10 });

    expect(await valueOf(metrics, 'stripe_calls_total', { endpoint, outcome: 'not_found' })).toBe(1);
    expect(await valueOf(metrics, 'stripe_call_duration_seconds_bucket', { endpoint, le: '0.3' })).toBe(1);
    expect(await valueOf(metrics, 'stripe_rate_limited_total', { reason: 'endpoint-rate' })).toBe(1);
    expect(await valueOf(metrics, 'rate_limiter_wait_seconds_sum')).toBe(0.1);
    expect(await valueOf(metrics, 'rate_limiter_calls_per_second')).toBe(10);

    states.rate = 0;
    expect(await valueOf(metrics, 'rate_limiter_calls_per_second')).toBe(Infinity);
  });

  it("of moves of MongoDB's clock count by direction", async () => {
    const metrics = metricsOf();

    for (const seconds of [-3_600, -2, 0.5]) metrics.observer.clockMoved(seconds);

    expect(await valueOf(metrics, 'mongodb_clock_moves_total', { direction: 'back' })).toBe(2);
    expect(await valueOf(metrics, 'mongodb_clock_moves_total', { direction: 'forward' })).toBe(1);
  });

  it('make no new series of what users and Stripe write', async () => {
    const metrics = metricsOf();
    const before = (await metrics.render()).split('\n').length;

    for (let index = 0; index < 50; index += 1) {
      // Values that no type allows.
      const outcome = `x${index}` as never;
      const status = `s${index}` as never;
      const command = `c${index}` as never;
      metrics.observer.callFinished({ endpoint: `GET /v1/${index}`, outcome, seconds: 1 });
      metrics.observer.rateLimited(`reason-${index}` as never);
      metrics.observer.requestEnded({ command, status, seconds: 1, result: undefined, count: 1 });
      metrics.observer.slotDecided({ schedule: status, outcome });
    }

    expect(await valueOf(metrics, 'stripe_calls_total', { endpoint: 'other', outcome: 'other' })).toBe(50);
    expect((await metrics.render()).split('\n').length - before).toBeLessThan(40);
  });

  it('of a scan show its progress while it runs and nothing otherwise', async () => {
    const metrics = metricsOf();
    expect(await samplesOf(metrics, 'scan_progress_ratio')).toEqual([]);

    metrics.observer.scanProgressed(0.25);
    expect(await valueOf(metrics, 'scan_progress_ratio')).toBe(0.25);

    metrics.observer.scanProgressed(undefined);
    expect(await samplesOf(metrics, 'scan_progress_ratio')).toEqual([]);
  });
});

it("the month's allowance of reads is shown where there is one, and absent where there is none", async () => {
  expect(await samplesOf(metricsOf(), 'stripe_monthly_read_allowance')).toEqual([]);
  expect(await samplesOf(metricsOf({ monthlyReadAllowance: 0 }), 'stripe_monthly_read_allowance')).toEqual(
    [],
  );

  const metrics = metricsOf({ monthlyReadAllowance: 10_000 });

  expect(await valueOf(metrics, 'stripe_monthly_read_allowance')).toBe(10_000);
});
