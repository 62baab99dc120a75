// Limits, latency and holds: when an answer comes, what it was computed from, and whether it comes at all.
import fc from 'fast-check';
import Stripe from 'stripe';
import {
  type CallInfo,
  createRandom,
  DOCUMENTED_LIMITS,
  type Limits,
  type RateLimitReason,
  startSimulator,
  stripeClient,
  type StripeSimulator,
} from 'stripe-simulator';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { drawDelays } from '../src/latency.js';
import { RateLimiter } from '../src/rate-limits.js';

let simulator: StripeSimulator;
let stripe: Stripe;

beforeAll(async () => {
  simulator = await startSimulator();
  stripe = stripeClient(simulator);
});

afterAll(() => simulator.close());

beforeEach(() => {
  simulator.reset();
  simulator.clear();
});

describe('limits', () => {
  it.each<[RateLimitReason, Limits]>([
    ['global-rate', { globalPerSecond: 0 }],
    ['endpoint-rate', { endpointPerSecond: 0 }],
    ['endpoint-rate', { endpointPerSecond: { 'GET /v1/customers': 0 } }],
    ['global-concurrency', { globalConcurrency: 0 }],
    ['endpoint-concurrency', { endpointConcurrency: { 'GET /v1/customers': 0 } }],
  ])('refuse with 429 and the reason %s', async (reason, limits) => {
    simulator.setLimits({ ...limits, retryAfterSeconds: 2 });

    const error = await refusal(stripe.customers.list());

    expect(error).toBeInstanceOf(Stripe.errors.StripeRateLimitError);
    expect(error).toMatchObject({ statusCode: 429, code: 'rate_limit', rawType: 'invalid_request_error' });
    expect(error.headers).toMatchObject({ 'stripe-rate-limited-reason': reason, 'retry-after': '2' });
    expect(simulator.refused).toEqual({ [reason]: 1 });
  });

  it('send no Retry-After unless told to', async () => {
    simulator.setLimits({ globalPerSecond: 0 });

    const error = await refusal(stripe.customers.list());

    expect(error.headers).not.toHaveProperty('retry-after');
  });

  it("are Stripe's own when asked for: the 26th call of a second is refused in test mode", async () => {
    simulator.setLimits(DOCUMENTED_LIMITS.test);

    const calls = await Promise.allSettled(Array.from({ length: 26 }, () => stripe.customers.list()));

    expect(calls.filter(({ status }) => status === 'fulfilled')).toHaveLength(25);
    expect(simulator.refused).toEqual({ 'global-rate': 1 });
  });

  it('count each endpoint by itself, whatever the id', async () => {
    const { id } = simulator.create({});
    simulator.setLimits({ endpointPerSecond: { 'GET /v1/customers/{id}': 1 } });

    await stripe.customers.retrieve(id);
    const error = await refusal(stripe.customers.retrieve('cus_other'));

    expect(error.headers).toMatchObject({ 'stripe-rate-limited-reason': 'endpoint-rate' });
    expect((await stripe.customers.list()).data).toHaveLength(1);
  });

  it('count accounts and modes apart', async () => {
    simulator.setLimits({ globalPerSecond: 1 });
    const live = stripeClient(simulator, simulator.account().keys.secretLive);

    await stripe.customers.list();
    await live.customers.list();

    await refusal(stripe.customers.list());
    await refusal(live.customers.list());
    expect(simulator.refused).toEqual({ 'global-rate': 2 });
  });

  it('let no more calls fly at once than allowed, and free their places', async () => {
    simulator.setLimits({ globalConcurrency: 2 });
    const holds = [1, 2].map(() => simulator.hold({ when: 'before-compute' }));

    const held = [stripe.customers.list(), stripe.customers.list()];
    await Promise.all(holds.map((hold) => hold.arrived));
    const error = await refusal(stripe.customers.list());
    for (const hold of holds) hold.release();
    await Promise.all(held);

    expect(error.headers).toMatchObject({ 'stripe-rate-limited-reason': 'global-concurrency' });
    expect((await stripe.customers.list()).object).toBe('list');
    expect(simulator.maxInFlight).toBe(3);
  });

  it('let through exactly what fits into any sliding second', () => {
    const gap = fc.oneof(fc.constantFrom(0, 1, 500, 999, 1000), fc.integer({ min: 0, max: 400 }));
    const steps = fc.array(gap, { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 8 }), (gaps, rate) => {
        const limiter = new RateLimiter();
        const admitted: number[] = [];
        let now = 0;
        for (const gap of gaps) {
          now += gap;
          const recent = admitted.filter((moment) => moment > now - 1000).length;
          const reason = limiter.refuse('GET /v1/customers', { globalPerSecond: rate }, now);
          expect(reason).toBe(recent < rate ? undefined : 'global-rate');
          if (reason === undefined) admitted.push(now);
        }
      }),
    );
  });
});

describe('observations', () => {
  it('count calls, answers and the busiest second, and reset on request', async () => {
    await Promise.all([1, 2, 3].map(() => stripe.customers.list()));
    await refusal(stripe.customers.retrieve('cus_unknown'));

    expect(simulator.stats).toMatchObject({
      calls: { 'GET /v1/customers': 3, 'GET /v1/customers/{id}': 1 },
      answers: { 'GET /v1/customers': { 200: 3 }, 'GET /v1/customers/{id}': { 404: 1 } },
      refused: {},
      inFlight: 0,
      writes: 0,
      callsPerSecond: 4,
    });
    simulator.reset();
    expect(simulator.stats.calls).toEqual({});
  });

  it('keep the last calls in the order they came, or none', async () => {
    simulator.setLogSize(2);
    for (const limit of [1, 2, 3]) await stripe.customers.list({ limit });
    const kept = simulator.requests;
    simulator.setLogSize(0);
    await stripe.customers.list();
    const none = simulator.requests;
    simulator.setLogSize(10_000);

    expect(kept.map(({ url }) => url)).toEqual(['/v1/customers?limit=2', '/v1/customers?limit=3']);
    expect(kept[0]).toMatchObject({
      method: 'GET',
      endpoint: 'GET /v1/customers',
      status: 200,
      keySuffix: simulator.key.slice(-4),
    });
    expect(kept[0]!.answeredAt).toBeGreaterThanOrEqual(kept[0]!.arrivedAt);
    expect(none).toEqual([]);
  });
});

describe('latency', () => {
  it('lets an answer take its time', async () => {
    simulator.setLatency({ ms: 60 });

    await stripe.customers.list();

    const [call] = simulator.requests;
    expect(call!.answeredAt! - call!.arrivedAt).toBeGreaterThanOrEqual(58);
  });

  it.each([
    ['arrival', 'before'],
    ['departure', 'after'],
    [0, 'before'],
    [1, 'after'],
  ] as const)('computes at %s, so the answer shows the data from %s a change', async (computeAt, name) => {
    const { id } = simulator.create({ name: 'before' });
    simulator.setLatency({ ms: 80, computeAt });
    const arrival = nextArrival();

    const answer = stripe.customers.retrieve(id);
    await arrival;
    simulator.update(id, { name: 'after' });

    expect(await answer).toMatchObject({ name });
  });

  it('does not delay what is refused', async () => {
    simulator.setLatency({ ms: 600_000 });
    simulator.setLimits({ globalPerSecond: 0 });

    expect((await refusal(stripe.customers.list())).statusCode).toBe(429);
    expect((await fetch(`${simulator.url}/v1/customers`)).status).toBe(401);
  });

  it('stays within its spread and its share before the computation', () => {
    const random = createRandom(7);
    const draws = Array.from({ length: 1000 }, () =>
      drawDelays({ ms: 100, jitterMs: 150, computeAt: 'random' }, random),
    );

    const totals = draws.map(({ beforeComputeMs, afterComputeMs }) => beforeComputeMs + afterComputeMs);
    const shares = draws.map(({ beforeComputeMs }, i) => beforeComputeMs / (totals[i]! || 1));

    expect(Math.min(...totals)).toBe(0);
    expect(Math.max(...totals)).toBeLessThanOrEqual(250);
    expect(Math.max(...totals)).toBeGreaterThan(240);
    expect(Math.max(...shares) - Math.min(...shares)).toBeGreaterThan(0.9);
    expect(drawDelays({ ms: 100, computeAt: 0.25 }, random)).toEqual({
      beforeComputeMs: 25,
      afterComputeMs: 75,
    });
  });
});

describe('holds', () => {
  it('keep an answer back before or after it is computed', async () => {
    const { id } = simulator.create({ name: 'before' });
    const early = simulator.hold({ path: `/v1/customers/${id}`, when: 'after-compute' });
    const late = simulator.hold({ path: `/v1/customers/${id}`, when: 'before-compute', skip: 1 });

    const first = stripe.customers.retrieve(id);
    await early.arrived;
    const second = stripe.customers.retrieve(id);
    await late.arrived;
    simulator.update(id, { name: 'after' });
    late.release();
    const arrivedFirst = await second;
    early.release();

    expect(arrivedFirst).toMatchObject({ name: 'after' });
    expect(await first).toMatchObject({ name: 'before' });
  });

  it('hold one call each, and none once they are released', async () => {
    const hold = simulator.hold({ when: 'before-compute', path: '/v1/customers' });
    const unused = simulator.hold({ when: 'after-compute', path: '/v1/customers' });
    unused.release();

    const held = stripe.customers.list();
    await hold.arrived;
    const free = await stripe.customers.list();
    expect(simulator.stats.inFlight).toBe(1);
    hold.release();

    expect(free.object).toBe('list');
    expect((await held).object).toBe('list');
  });

  it('do not keep the simulator from closing, nor does latency', async () => {
    const other = await startSimulator({ latency: { ms: 600_000 } });
    const delayed = fetchList(other);
    await until(() => other.stats.inFlight === 1);
    other.setLatency(undefined);
    const hold = other.hold({ when: 'before-compute' });
    const held = fetchList(other);
    await hold.arrived;

    await other.close();

    await expect(delayed).rejects.toThrow('fetch failed');
    await expect(held).rejects.toThrow('fetch failed');
    await expect(fetchList(other)).rejects.toThrow('fetch failed');
  });
});

function fetchList({ url, key }: StripeSimulator): Promise<Response> {
  const answer = fetch(`${url}/v1/customers`, { headers: { Authorization: `Bearer ${key}` } });
  // Looked at later; until then a rejection is not unhandled.
  answer.catch(() => undefined);
  return answer;
}

async function until(isTrue: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!isTrue()) {
    if (Date.now() > deadline) throw new Error('The condition did not come true within 5 s');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Resolves after the next call has arrived and done what it does at once. */
function nextArrival(): Promise<void> {
  return new Promise((resolve) => {
    simulator.fault({
      kind: 'null',
      path: (_call: CallInfo) => {
        setImmediate(resolve);
        return false;
      },
    });
  });
}

async function refusal(call: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Stripe.errors.StripeError);
  return error as Stripe.errors.StripeError; // Just checked.
}
