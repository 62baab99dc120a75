// What goes wrong between Stripe and us, on real connections: every call ends, in time, as an answer or as a fault with a name.
import { inspect } from 'node:util';
import { beforeEach, describe, expect, test } from 'vitest';
import { type FaultOrder, startSimulator, type StripeSimulator } from 'stripe-simulator';
import type { StripeId } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { startGateway } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

const calm = { priority: 'small', signal: new AbortController().signal } as const;
const anyId = 'cus_canary' as StripeId;
const canary = 'canary.person@example.com';

let simulator: StripeSimulator;

beforeEach(async () => {
  simulator = await startSimulator();
  atEnd(() => simulator.close());
  simulator.create({ id: anyId, email: canary, name: 'Canary Person' });
});

const passing: [string, FaultOrder, string][] = [
  ['drips', { kind: 'drip', everyMs: 20 }, 'timeout'],
  ['stalls before the headers', { kind: 'stall' }, 'timeout'],
  ['stalls in the body', { kind: 'stallBody' }, 'timeout'],
  ['breaks off a body of known length', { kind: 'truncate', how: 'contentLength' }, 'invalid_response'],
  ['ends a chunked body in the middle of the JSON', { kind: 'truncate', how: 'chunked' }, 'invalid_response'],
  ['is a page of HTML with 502', { kind: 'html' }, 'server_error'],
  ['is a page of HTML with 200', { kind: 'html', status: 200 }, 'invalid_response'],
  ['is a page of HTML with 403', { kind: 'html', status: 403 }, 'invalid_response'],
  ['is a page of HTML with 401', { kind: 'html', status: 401 }, 'invalid_response'],
  ['is null', { kind: 'null' }, 'invalid_response'],
  ['is an array', { kind: 'status', status: 200, body: '[]' }, 'invalid_response'],
  ['is an empty page that has more', { kind: 'emptyPage' }, 'invalid_response'],
  ['is a reset', { kind: 'reset' }, 'connection_failed'],
  ['is 500', { kind: 'status', status: 500 }, 'server_error'],
  ['is 503 without a body', { kind: 'status', status: 503, body: '' }, 'server_error'],
  [
    'is an error of status 500 that is no object',
    { kind: 'status', status: 500, body: 'null' },
    'server_error',
  ],
  ['is 409', { kind: 'status', status: 409 }, 'rejected'],
  ['is a plain 429', { kind: 'status', status: 429 }, 'rate_limited'],
  ['is 429 in HTML', { kind: 'html', status: 429 }, 'rate_limited'],
  ['is a lock timeout', { kind: 'lockTimeout' }, 'rate_limited'],
];

describe('an answer that', () => {
  test.each(passing)('%s is asked for once more', async (_what, order, outcome) => {
    simulator.fault(order);
    const { customers, observed } = startGateway(simulator, { attemptTimeoutMs: 250 });

    const page = await customers.list({ limit: 10 }, calm);

    expect(page).toMatchObject({ kind: 'page', objects: [{ id: anyId }] });
    expect(observed.calls.map((call) => call.outcome)).toEqual([outcome, 'succeeded']);
    expect(simulator.requests).toHaveLength(2);
  });

  test.each(passing)('always %s ends as a retryable fault at the deadline', async (_what, order) => {
    simulator.fault({ ...order, times: Infinity });
    const { customers } = startGateway(simulator, { attemptTimeoutMs: 60, callDeadlineMs: 200 });
    const startedAt = performance.now();

    const fault: unknown = await customers.list({ limit: 10 }, calm).catch((error: unknown) => error);

    expect(fault).toMatchObject({ name: 'Fault', kind: 'retryable' });
    expect(performance.now() - startedAt).toBeLessThan(700);
  });
});

test('characters that are cut between two packets come whole', async () => {
  const name = 'Zoë 山田 🙂'.repeat(20);
  simulator.create({ id: 'cus_cut', name });
  simulator.fault({ kind: 'drip', everyMs: 1, bytes: 7 });
  const { customers } = startGateway(simulator, { attemptTimeoutMs: 10_000 });

  const answer = await customers.retrieve('cus_cut' as StripeId, calm);

  expect(answer).toMatchObject({ kind: 'found', object: { name } });
});

test('a connection that nobody takes ends as a retryable fault', async () => {
  const { url, key } = simulator;
  await simulator.close();
  const { customers } = startGateway({ url, key }, { callDeadlineMs: 200 });

  await expect(customers.list({ limit: 1 }, calm)).rejects.toMatchObject({
    code: 'stripe_unavailable',
    kind: 'retryable',
    message: 'The connection to Stripe failed (ECONNREFUSED)',
  });
});

test('an attempt out of time leaves no connection behind', async () => {
  simulator.fault({ kind: 'stallBody', times: Infinity });
  const { customers } = startGateway(simulator, { attemptTimeoutMs: 100, callDeadlineMs: 150 });

  await expect(customers.list({ limit: 1 }, calm)).rejects.toMatchObject({ code: 'stripe_unavailable' });

  await until(() => simulator.stats.inFlight === 0, { what: 'the connection to end', timeoutMs: 500 });
});

describe('a refusal', () => {
  test('of any other kind is final', async () => {
    simulator.fault({ kind: 'status', status: 400 });
    const { customers, observed } = startGateway(simulator);

    await expect(customers.list({ limit: 1 }, calm)).rejects.toMatchObject({
      code: 'stripe_rejected',
      kind: 'terminal',
      statusCode: 400,
      requestId: expect.stringMatching(/^req_/) as string,
    });
    expect(observed.calls.map(({ outcome }) => outcome)).toEqual(['rejected']);
  });

  test('is repeated where Stripe-Should-Retry says so', async () => {
    simulator.fault({ kind: 'status', status: 400, headers: { 'Stripe-Should-Retry': 'true' } });
    const { customers } = startGateway(simulator);

    expect(await customers.list({ limit: 1 }, calm)).toMatchObject({ kind: 'page' });
    expect(simulator.requests).toHaveLength(2);
  });

  test('is not repeated where Stripe-Should-Retry forbids it', async () => {
    simulator.fault({ kind: 'status', status: 500, headers: { 'Stripe-Should-Retry': 'false' } });
    const { customers } = startGateway(simulator);

    await expect(customers.list({ limit: 1 }, calm)).rejects.toMatchObject({
      code: 'stripe_unavailable',
      kind: 'retryable',
      statusCode: 500,
    });
    expect(simulator.requests).toHaveLength(1);
  });

  test('is repeated no sooner than Retry-After', async () => {
    simulator.fault({ kind: 'rateLimit', reason: 'resource-specific', retryAfterSeconds: 1 });
    const { customers, observed } = startGateway(simulator);

    await customers.list({ limit: 1 }, calm);

    const [first, second] = simulator.requests;
    expect(second!.arrivedAt - first!.arrivedAt).toBeGreaterThanOrEqual(990);
    expect(observed.limited).toEqual(['resource-specific']);
  });

  test('whose Retry-After lies beyond the deadline tells how long to wait', async () => {
    simulator.fault({ kind: 'rateLimit', reason: 'global-rate', retryAfterSeconds: 60 });
    const { customers } = startGateway(simulator);

    await expect(customers.list({ limit: 1 }, calm)).rejects.toMatchObject({
      code: 'stripe_rate_limited',
      kind: 'retryable',
      retryAfterMs: 60_000,
    });
    expect(simulator.requests).toHaveLength(1);
  });

  test('of permission names what to give', async () => {
    simulator.addKey('rk_test_blind', { permissions: [] });
    const { customers, observed } = startGateway({ url: simulator.url, key: 'rk_test_blind' });

    await expect(customers.list({ limit: 1 }, calm)).rejects.toMatchObject({
      code: 'stripe_permission_denied',
      kind: 'terminal',
      message: expect.stringContaining('GET /v1/customers') as string,
    });
    expect(observed.calls.map(({ outcome }) => outcome)).toEqual(['permission_denied']);
  });
});

describe('an abort', () => {
  const reason = new Error('the lease was lost');

  test('before the call makes none', async () => {
    const { customers } = startGateway(simulator);

    await expect(customers.list({ limit: 1 }, { ...calm, signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    expect(simulator.requests).toEqual([]);
  });

  test('ends a call that waits for a slot', async () => {
    const aborting = new AbortController();
    const { customers } = startGateway(
      simulator,
      { callsPerSecond: 1 },
      { budget: { take: () => new Promise(() => {}), slowDown: async () => {}, count: async () => {} } },
    );

    const call = customers.list({ limit: 1 }, { ...calm, signal: aborting.signal });
    aborting.abort(reason);

    await expect(call).rejects.toBe(reason);
    expect(simulator.requests).toEqual([]);
  });

  const stages: [string, FaultOrder, number | undefined][] = [
    ['before the headers', { kind: 'stall' }, undefined],
    ['in the body', { kind: 'stallBody' }, 200],
  ];
  test.each(stages)('ends a call %s and its connection', async (_stage, order) => {
    simulator.fault(order);
    const aborting = new AbortController();
    const { customers, observed } = startGateway(simulator);

    const call = customers.list({ limit: 1 }, { ...calm, signal: aborting.signal });
    await until(() => simulator.stats.inFlight === 1, { what: 'the call to arrive', intervalMs: 5 });
    aborting.abort(reason);

    await expect(call).rejects.toBe(reason);
    await until(() => simulator.stats.inFlight === 0, { what: 'the connection to end', timeoutMs: 500 });
    expect(observed.calls.map(({ outcome }) => outcome)).toEqual(['aborted']);
  });

  test('ends a call that waits to be repeated', async () => {
    simulator.fault({ kind: 'status', status: 500, times: Infinity });
    const aborting = new AbortController();
    const { customers } = startGateway(simulator, { callDeadlineMs: 60_000 }, { random: () => 1 });

    const call = customers.list({ limit: 1 }, { ...calm, signal: aborting.signal });
    await until(() => simulator.requests.length === 1, { what: 'the first attempt', intervalMs: 5 });
    aborting.abort(reason);

    await expect(call).rejects.toBe(reason);
  });
});

describe('closing', () => {
  test('ends all calls and connections', async () => {
    simulator.fault({ kind: 'stall', times: 3 });
    const { customers, gateway } = startGateway(simulator);
    const calls = [1, 2, 3].map(() => customers.retrieve(anyId, calm).catch((error: unknown) => error));
    await until(() => simulator.stats.inFlight === 3, { what: 'the calls to arrive', intervalMs: 5 });

    await gateway.close();

    for (const fault of await Promise.all(calls))
      expect(fault).toMatchObject({ code: 'shutdown', kind: 'retryable' });
    await until(() => simulator.stats.inFlight === 0, { what: 'the connections to end', timeoutMs: 500 });
    await expect(customers.retrieve(anyId, calm)).rejects.toMatchObject({ code: 'shutdown' });
  });

  test('closes connections that are kept open', async () => {
    const { customers, gateway } = startGateway(simulator);
    await customers.retrieve(anyId, calm);

    await gateway.close();

    const sockets = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
    await until(() => sockets() === 0, { what: 'all sockets to be closed' });
  });
});

test('many calls at once on one signal raise no warning', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  atEnd(() => void process.off('warning', onWarning));
  simulator.fault({
    kind: 'status',
    status: 200,
    headers: { 'Stripe-Notice': canary },
    body: { id: anyId, object: 'customer' },
  });
  const { customers } = startGateway(simulator, { maxInFlight: 30 });
  const { signal } = new AbortController();

  await Promise.all(
    Array.from({ length: 60 }, () => customers.retrieve(anyId, { priority: 'scan', signal })),
  );

  expect(warnings).toEqual([]);
});

test('no fault and no line of the log tells the key, a person or what Stripe said', async () => {
  const quoting = { type: 'invalid_request_error', message: `For ${canary}`, code: canary, param: canary };
  const orders: FaultOrder[] = [
    ...passing.map(([, order]) => order),
    { kind: 'status', status: 200, body: `{"id":"${canary}", broken` },
    { kind: 'status', status: 200, body: { object: canary } },
    ...[400, 401, 402, 403, 404, 409, 429, 500].map((status): FaultOrder => ({
      kind: 'status',
      status,
      body: { error: quoting },
      headers: { 'Request-Id': canary },
    })),
    { kind: 'wrongLivemode' },
  ];
  const told: string[] = [];

  for (const order of orders) {
    simulator.clearFaults();
    simulator.fault({ ...order, times: Infinity });
    const test = startGateway(simulator, { attemptTimeoutMs: 60, callDeadlineMs: 90 });
    const fault: unknown = await test.customers.list({ limit: 10 }, calm).catch((error: unknown) => error);
    expect(fault).toBeInstanceOf(Error);
    told.push(inspect(fault, { depth: 20, showHidden: true }), JSON.stringify(fault), ...test.lines);
    told.push(inspect(test.gateway, { depth: 20, showHidden: false }));
    await test.gateway.close();
  }

  expect(told.join('\n')).not.toMatch(/canary\.person|Canary Person|[sr]k_test_|Bearer/);
});
