// Faults on order: what the official SDK, or a plain client, sees of each, and which calls they hit.
import http from 'node:http';
import Stripe from 'stripe';
import { type FaultOrder, startSimulator, stripeClient, type StripeSimulator } from 'stripe-simulator';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

let simulator: StripeSimulator;
let stripe: Stripe;
let ids: string[];

beforeAll(async () => {
  simulator = await startSimulator();
  stripe = stripeClient(simulator);
  simulator.seed({ count: 30 });
  ids = simulator.listIds();
});

afterAll(() => simulator.close());

beforeEach(() => simulator.reset());

describe('an ordered answer', () => {
  it('has the given status, body and headers', async () => {
    const body = { error: { type: 'api_error', message: 'Broken' } };
    simulator.fault({ kind: 'status', status: 503, body, headers: { 'Stripe-Should-Retry': 'false' } });

    const error = await failure(stripe.customers.list());

    expect(error).toBeInstanceOf(Stripe.errors.StripeAPIError);
    expect(error).toMatchObject({ statusCode: 503, message: 'Broken' });
    expect(error.headers).toMatchObject({ 'stripe-should-retry': 'false' });
  });

  it.each([
    [400, Stripe.errors.StripeInvalidRequestError],
    [401, Stripe.errors.StripeAuthenticationError],
    [403, Stripe.errors.StripePermissionError],
    [404, Stripe.errors.StripeInvalidRequestError],
    [409, Stripe.errors.StripeAPIError],
    [429, Stripe.errors.StripeRateLimitError],
    [500, Stripe.errors.StripeAPIError],
  ])("has Stripe's body for status %i when none is given", async (status, type) => {
    simulator.fault({ kind: 'status', status });

    const error = await failure(stripe.customers.list());

    expect(error).toBeInstanceOf(type);
    expect(error.statusCode).toBe(status);
  });

  it('is a rate limit with its reason, counted as refused', async () => {
    simulator.fault({ kind: 'rateLimit', reason: 'resource-specific', retryAfterSeconds: 3 });

    const error = await failure(stripe.customers.list());

    expect(error).toBeInstanceOf(Stripe.errors.StripeRateLimitError);
    expect(error).toMatchObject({ statusCode: 429, code: 'rate_limit' });
    expect(error.headers).toMatchObject({
      'stripe-rate-limited-reason': 'resource-specific',
      'retry-after': '3',
    });
    expect(simulator.refused).toEqual({ 'resource-specific': 1 });
  });

  it('is a lock timeout without a reason, which Stripe wants retried', async () => {
    simulator.fault({ kind: 'lockTimeout' });

    const error = await failure(stripe.customers.retrieve(ids[0]!));

    expect(error).toMatchObject({ statusCode: 429, code: 'lock_timeout' });
    expect(error.headers).toMatchObject({ 'stripe-should-retry': 'true' });
    expect(error.headers).not.toHaveProperty('stripe-rate-limited-reason');
    expect(simulator.refused).toEqual({ lock_timeout: 1 });
  });

  it("is a proxy's HTML page", async () => {
    simulator.fault({ kind: 'html', times: 2 });

    const error = await failure(stripe.customers.list());
    const raw = await get('/v1/customers');

    expect(error.message).toBe('Invalid JSON received from the Stripe API');
    expect(raw).toMatchObject({ status: 502, type: 'text/html', isComplete: true });
    expect(raw.body).toContain('<h1>502 Bad Gateway</h1>');
  });

  it('is null', async () => {
    simulator.fault({ kind: 'null' });

    expect(await get('/v1/customers')).toMatchObject({ status: 200, body: 'null' });
  });

  it('is an empty page that claims there is more', async () => {
    simulator.fault({ kind: 'emptyPage' });

    expect(await stripe.customers.list()).toMatchObject({ data: [], has_more: true, url: '/v1/customers' });
  });

  it('is the page before once more', async () => {
    const first = await stripe.customers.list({ limit: 10 });
    const cursor = first.data.at(-1)!.id;
    simulator.fault({ kind: 'duplicatePage', times: 2 });

    const again = await stripe.customers.list({ limit: 10, starting_after: cursor });
    const withoutCursor = await stripe.customers.list({ limit: 10 });
    const second = await stripe.customers.list({ limit: 10, starting_after: cursor });

    expect(again.data).toEqual(first.data);
    expect(again.has_more).toBe(true);
    expect(withoutCursor.data).toEqual(first.data);
    expect(second.data.map(({ id }) => id)).toEqual(ids.slice(10, 20));
  });

  it.each([
    ['created', () => ({ created: { gte: 4_000_000_000 } })],
    ['starting_after', () => ({ starting_after: ids[9]! })],
    ['limit', () => ({ limit: 3 })],
  ] as const)('is answered without %s', async (name, params) => {
    simulator.fault({ kind: 'ignoreParameters', names: [name] });

    const { data } = await stripe.customers.list(params());

    expect(data.map(({ id }) => id)).toEqual(name === 'limit' ? ids : ids.slice(0, 10));
  });

  it('has every livemode turned round', async () => {
    simulator.fault({ kind: 'wrongLivemode', times: 2 });

    const page = await stripe.customers.list();
    const one = await stripe.customers.retrieve(ids[0]!);

    expect(new Set(page.data.map(({ livemode }) => livemode))).toEqual(new Set([true]));
    expect(one).toMatchObject({ livemode: true });
    expect(simulator.get(ids[0]!)).toMatchObject({ livemode: false });
  });

  it('is whatever a handler makes of the real one', async () => {
    simulator.fault({
      kind: 'custom',
      answer: async (call, compute) => {
        const real = compute();
        return { ...real, status: 201, headers: { 'X-Seen': call.endpoint } };
      },
    });

    const answer = await get(`/v1/customers/${ids[0]!}`);

    expect(answer.status).toBe(201);
    expect(answer.headers['x-seen']).toBe('GET /v1/customers/{id}');
    expect(JSON.parse(answer.body)).toEqual(simulator.get(ids[0]!));
  });
});

describe('a broken connection', () => {
  it('is reset before any header; the SDK by itself calls once more', async () => {
    const fault = simulator.fault({ kind: 'reset', times: Infinity });

    const error = await failure(stripe.customers.list());

    expect(error).toBeInstanceOf(Stripe.errors.StripeConnectionError);
    expect(fault.hits).toBe(2);
    expect(simulator.requests.map(({ status, fault: kind }) => ({ status, kind }))).toEqual([
      { status: undefined, kind: 'reset' },
      { status: undefined, kind: 'reset' },
    ]);
  });

  it('stalls until the client gives up, and counts as in flight until then', async () => {
    simulator.fault({ kind: 'stall' });
    const abort = new AbortController();

    const call = fetch(`${simulator.url}/v1/customers`, { headers: auth(), signal: abort.signal });
    await until(() => simulator.stats.inFlight === 1);
    abort.abort();

    await expect(call).rejects.toThrow('aborted');
    await until(() => simulator.stats.inFlight === 0);
    expect(simulator.requests.at(-1)!.status).toBeUndefined();
  });

  it('stalls in the middle of the body', async () => {
    simulator.fault({ kind: 'stallBody' });
    const impatient = new Stripe(simulator.key, {
      host: simulator.host,
      port: simulator.port,
      protocol: 'http',
      maxNetworkRetries: 0,
      timeout: 100,
    });

    const error = await failure(impatient.customers.list());

    expect(error).toBeInstanceOf(Stripe.errors.StripeConnectionError);
    expect(simulator.requests.at(-1)!.status).toBe(200);
  });

  it('lets the body drip, whole in the end', async () => {
    const whole = await get('/v1/customers?limit=3');
    simulator.fault({ kind: 'drip', everyMs: 1, bytes: 100 });

    const dripped = await get('/v1/customers?limit=3');

    expect(dripped.body).toBe(whole.body);
    expect(dripped.chunks).toBeGreaterThan(5);
  });

  it('cuts the body short of its announced length', async () => {
    simulator.fault({ kind: 'truncate', times: 2 });

    const error = await failure(stripe.customers.list());
    const raw = await get('/v1/customers');

    expect(error).toBeInstanceOf(Stripe.errors.StripeConnectionError);
    expect(raw).toMatchObject({ status: 200, isComplete: false });
    expect(raw.body.length).toBeLessThan(Number(raw.headers['content-length']));
    expect(raw.body).toMatch(/^\{\n {2}"object": "list"/);
  });

  it('ends cleanly in the middle of the JSON', async () => {
    simulator.fault({ kind: 'truncate', how: 'chunked', times: 2 });

    const error = await failure(stripe.customers.list());
    const raw = await get('/v1/customers');

    expect(error.message).toBe('Invalid JSON received from the Stripe API');
    expect(raw).toMatchObject({ status: 200, isComplete: true });
    expect(() => JSON.parse(raw.body) as unknown).toThrow();
  });
});

describe('the calls a fault hits', () => {
  const list = '/v1/customers?limit=1';

  it.each<[string, Partial<FaultOrder>, string[]]>([
    ['once by default', {}, ['500', '200', '200']],
    ['as often as ordered', { times: 2 }, ['500', '500', '200']],
    ['always', { times: Infinity }, ['500', '500', '500']],
    ['after letting some pass', { skip: 1 }, ['200', '500', '200']],
  ])('%s', async (_, order, expected) => {
    const fault = simulator.fault({ kind: 'status', status: 500, ...order } as FaultOrder);

    const statuses = [await get(list), await get(list), await get(list)].map(({ status }) => `${status}`);

    expect(statuses).toEqual(expected);
    expect(fault.hits).toBe(expected.filter((status) => status === '500').length);
  });

  it.each<[string, Partial<FaultOrder>, boolean]>([
    ['a prefix of the raw URL', { path: '/v1/customers?' }, true],
    ['another prefix', { path: '/v1/events' }, false],
    ['an expression', { path: /limit=1$/g }, true],
    ['another expression', { path: /limit=2$/ }, false],
    ['a predicate', { path: ({ url }) => url.includes('limit') }, true],
    ['an endpoint', { endpoint: 'GET /v1/customers' }, true],
    ['another endpoint', { endpoint: 'GET /v1/customers/{id}' }, false],
    ['a method', { method: 'get' }, true],
    ['another method', { method: 'POST' }, false],
    ['several conditions of which one fails', { path: '/v1', method: 'POST' }, false],
  ])('are chosen by %s', async (_, order, isHit) => {
    simulator.fault({ kind: 'status', status: 500, times: 2, ...order } as FaultOrder);

    const statuses = [(await get(list)).status, (await get(list)).status];

    expect(statuses).toEqual(isHit ? [500, 500] : [200, 200]);
  });

  it('are hit even over a limit, and counted against it', async () => {
    simulator.setLimits({ globalPerSecond: 1 });
    simulator.fault({ kind: 'drip', everyMs: 1, bytes: 10_000, times: 2 });

    const statuses = [(await get(list)).status, (await get(list)).status, (await get(list)).status];

    expect(statuses).toEqual([200, 200, 429]);
  });

  it('end with the connection, and closing fails, when a predicate throws', async () => {
    const broken = await startSimulator();
    const faulty = (): boolean => {
      throw new Error('The predicate is wrong');
    };
    broken.fault({ kind: 'null', path: faulty });

    await expect(fetch(broken.url)).rejects.toThrow('fetch failed');

    await expect(broken.close()).rejects.toThrow('The simulator itself failed');
  });

  it('are none after its removal, and the first order comes first', async () => {
    const first = simulator.fault({ kind: 'status', status: 500, times: Infinity });
    simulator.fault({ kind: 'status', status: 503, times: Infinity });

    const before = await get(list);
    first.remove();
    const after = await get(list);
    simulator.clearFaults();
    const cleared = await get(list);

    expect([before.status, after.status, cleared.status]).toEqual([500, 503, 200]);
    expect(first.hits).toBe(1);
  });
});

interface RawAnswer {
  status: number;
  type: string | undefined;
  headers: http.IncomingHttpHeaders;
  body: string;
  chunks: number;
  isComplete: boolean;
}

/** A plain client that tells what arrived, complete or not. */
function get(path: string): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const request = http.get(simulator.url + path, { headers: auth(), agent: false }, (response) => {
      let body = '';
      let chunks = 0;
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
        chunks += 1;
      });
      response.on('error', () => undefined);
      response.on('close', () => {
        const { headers, statusCode: status = 0, complete: isComplete } = response;
        resolve({ status, type: headers['content-type'], headers, body, chunks, isComplete });
      });
    });
    request.on('error', reject);
  });
}

function auth(): { Authorization: string } {
  return { Authorization: `Bearer ${simulator.key}` };
}

async function failure(call: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Stripe.errors.StripeError);
  return error as Stripe.errors.StripeError; // Just checked.
}

async function until(isTrue: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!isTrue()) {
    if (Date.now() > deadline) throw new Error('The condition did not come true within 5 s');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
