// What the sync is given of Stripe's answers, through the real SDK.
import { beforeEach, describe, expect, test } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import type { MongoClock } from '../../src/mongo/clock.js';
import type { StripeId } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { localClock, startGateway } from '../support/stripe-gateway.js';

const id = (value: unknown): StripeId => value as StripeId; // tests give ids that the type would not let through
const calm = { priority: 'small', signal: new AbortController().signal } as const;

let simulator: StripeSimulator;

beforeEach(async () => {
  simulator = await startSimulator();
  atEnd(() => simulator.close());
});

describe('a page', () => {
  test('holds what Stripe returned, newest first, with the clocks of both sides', async () => {
    simulator.seed({ count: 5 });
    simulator.clock.setOffset(-3_600_000);
    const { customers } = startGateway(simulator);
    const before = Date.now();

    const page = await customers.list({ limit: 3 }, calm);

    expect(page).toMatchObject({ kind: 'page', invalid: [], hasMore: true });
    if (page.kind !== 'page') return;
    expect(page.objects).toEqual(simulator.list().slice(0, 3));
    expect(Math.abs(page.stripeTime * 1_000 + 3_600_000 - before)).toBeLessThan(3_000);
    expect(page.observed.from.getTime()).toBeGreaterThanOrEqual(before - 1);
    expect(page.observed.to.getTime()).toBeLessThanOrEqual(Date.now() + 5);
    expect(page.receivedAtMs).toBeLessThanOrEqual(performance.now());
  });

  test("is too old to be written if MongoDB's clock moved meanwhile", async () => {
    simulator.seed({ count: 1 });
    const clock = {
      ...localClock,
      dated: async (...call: Parameters<MongoClock['dated']>) => ({
        ...(await localClock.dated(...call)),
        isCertain: false,
      }),
    };
    const { customers } = startGateway(simulator, {}, { clock });

    expect(await customers.list({ limit: 3 }, calm)).toMatchObject({ receivedAtMs: -Infinity });
  });

  test('is asked for by cursor and by interval of creation, with the pinned version and without telemetry', async () => {
    simulator.seed({ count: 30, from: 1_000, to: 30_000 });
    const [, second] = simulator.list();
    const { customers } = startGateway(simulator);

    const page = await customers.list(
      { limit: 2, startingAfter: id(second?.id), gte: 500, lt: 40_000 },
      calm,
    );

    expect(page).toMatchObject({ objects: simulator.list().slice(2, 4) });
    expect(simulator.requests.map(({ url }) => url)).toEqual([
      `/v1/customers?limit=2&starting_after=${second?.id}&created[gte]=500&created[lt]=40000`,
    ]);
  });

  test.each([
    ['created', 'a row outside the requested interval of created'],
    ['limit', 'rows, more than the limit of 3'],
    ['starting_after', 'the page starts at its cursor, not after it'],
  ] as const)('from a server that ignores %s is refused with its reason', async (name, reason) => {
    simulator.seed({ count: 30, from: 1_000, to: 30_000 });
    simulator.fault({
      kind: 'ignoreParameters',
      names: [name],
      endpoint: 'GET /v1/customers',
      times: Infinity,
    });
    const { customers } = startGateway(simulator, { callDeadlineMs: 500, attemptTimeoutMs: 500 });
    const [newest] = simulator.list();
    const query = { created: { limit: 3, gte: 2_000, lt: 3_000 }, limit: { limit: 3 } };

    const answer = customers.list(
      name === 'starting_after' ? { limit: 30, startingAfter: id(newest?.id) } : query[name],
      calm,
    );

    await expect(answer).rejects.toMatchObject({
      code: 'stripe_invalid_response',
      message: expect.stringContaining(reason) as string,
    });
  });

  test('reaches the caller as it came over the wire, decimals and odd keys included', async () => {
    const subscriptions = {
      object: 'list',
      data: [{ items: { data: [{ price: { unit_amount_decimal: '12.50' } }] } }],
    };
    simulator.createRaw(
      `{"id":"cus_odd","object":"customer","created":1,"livemode":false,"metadata":{"__proto__":"p","a.b":"$x","":"e"},` +
        `"subscriptions":${JSON.stringify(subscriptions)},"new_field":{}}`,
    );
    const { customers } = startGateway(simulator);

    const page = await customers.list({ limit: 1 }, calm);
    const answer = await customers.retrieve(id('cus_odd'), calm);

    const listed = page.kind === 'page' ? page.objects[0] : undefined;
    const retrieved = answer.kind === 'found' ? answer.object : undefined;
    expect(listed).toMatchObject({ subscriptions, new_field: {} });
    expect(JSON.stringify(listed)).toBe(JSON.stringify(retrieved));
    expect(Object.keys(listed?.['metadata'] ?? {})).toEqual(['__proto__', 'a.b', '']);
    expect(Reflect.ownKeys(retrieved ?? {})).not.toContain('lastResponse');
  });

  test('leaves out and counts entries that are no such object', async () => {
    simulator.create({ id: 'cus_good' });
    simulator.fault({
      kind: 'custom',
      answer: (_call, compute) => {
        const page = JSON.parse(compute().body as string) as { data: unknown[] };
        page.data.push(
          null,
          7,
          { id: 'in_1', object: 'invoice' },
          { id: 'x\0', object: 'customer' },
          { object: 'customer' },
        );
        return { status: 200, body: page };
      },
    });
    const { customers } = startGateway(simulator);

    const page = await customers.list({ limit: 10 }, calm);

    expect(page).toMatchObject({ objects: [{ id: 'cus_good' }] });
    expect(page.kind === 'page' && page.invalid).toEqual([
      { place: 2, id: undefined },
      { place: 3, id: undefined },
      { place: 4, id: 'in_1' },
      { place: 5, id: 'x\0' },
      { place: 6, id: undefined },
    ]);
  });

  test('that says there is more, but has no usable entry to go on after, is asked for again', async () => {
    simulator.seed({ count: 5 });
    const bad = (data: unknown[]) => ({ object: 'list', data, has_more: true, url: '/v1/customers' });
    simulator.fault({
      kind: 'status',
      status: 200,
      body: bad([null, 7, { id: '', object: 'customer' }]),
    });
    simulator.fault({ kind: 'status', status: 200, body: bad([]) });
    const { customers, observed } = startGateway(simulator);

    const page = await customers.list({ limit: 3 }, calm);

    expect(page).toMatchObject({ hasMore: true, objects: simulator.list().slice(0, 3) });
    expect(observed.calls.map(({ outcome }) => outcome)).toEqual([
      'invalid_response',
      'invalid_response',
      'succeeded',
    ]);
  });

  test('that says there is more, but never has a usable entry, is a fault that may pass', async () => {
    const body = { object: 'list', data: [{ id: 'in_1', object: 'invoice' }], has_more: true };
    simulator.fault({ kind: 'status', status: 200, body, times: Infinity });
    const { customers } = startGateway(simulator, { callDeadlineMs: 1_500 });

    await expect(customers.list({ limit: 3 }, calm)).rejects.toMatchObject({
      code: 'stripe_invalid_response',
      kind: 'retryable',
    });
  });

  test('whose cursor was deleted is told apart', async () => {
    const { id: gone } = simulator.create();
    simulator.delete(gone);
    const { customers, observed } = startGateway(simulator);

    expect(await customers.list({ limit: 10, startingAfter: id(gone) }, calm)).toEqual({
      kind: 'cursor_gone',
    });
    expect(observed.calls.map(({ outcome }) => outcome)).toEqual(['not_found']);
  });
});

describe('test clocks', () => {
  const clock = (name: string) => ({ id: name, object: 'test_helpers.test_clock', livemode: false });
  const list = { object: 'list', has_more: false };

  test('are listed page by page, and of each its customers, without bounds of creation', async () => {
    for (const name of ['clock_1', 'clock_2', 'clock_3']) simulator.create({ test_clock: name });
    const [onFirst] = [simulator.create({ test_clock: 'clock_1' })];
    const { customers } = startGateway(simulator);

    const first = await customers.testClocks!({ limit: 2 }, calm);
    const cursor = first.kind === 'page' ? first.clocks[1] : undefined;
    const rest = await customers.testClocks!({ limit: 2, startingAfter: cursor }, calm);
    const page = await customers.list({ limit: 1, testClock: 'clock_1' }, calm);

    expect(first).toMatchObject({ kind: 'page', hasMore: true });
    expect(rest).toMatchObject({ kind: 'page', hasMore: false, clocks: [expect.any(String)] });
    expect(page).toMatchObject({ objects: [onFirst], hasMore: true });
    expect(simulator.requests.at(-1)?.url).toBe('/v1/customers?limit=1&test_clock=clock_1');
  });

  test('that are gone have no customers; as a cursor they are told apart', async () => {
    simulator.create({ test_clock: 'clock_1' });
    simulator.deleteTestClock('clock_1');
    const { customers } = startGateway(simulator);

    expect(await customers.list({ limit: 10, testClock: 'clock_1' }, calm)).toMatchObject({
      kind: 'page',
      objects: [],
      hasMore: false,
    });
    expect(await customers.testClocks!({ limit: 10, startingAfter: 'clock_1' }, calm)).toEqual({
      kind: 'cursor_gone',
    });
  });

  test.each([
    ['more rows than asked for', { ...list, data: [clock('clock_1'), clock('clock_2'), clock('clock_3')] }],
    ['a clock twice', { ...list, data: [clock('clock_1'), clock('clock_1')] }],
    ['its own cursor', { ...list, data: [clock('clock_0')] }],
    ['more to follow after nothing', { ...list, has_more: true, data: [] }],
    ['a clock without an id', { ...list, data: [{ object: 'test_helpers.test_clock' }] }],
    ['a clock of live mode', { ...list, data: [{ ...clock('clock_1'), livemode: true }] }],
    ['no list', { object: 'list' }],
  ])('are not believed in a page with %s', async (_, body) => {
    simulator.fault({ kind: 'status', status: 200, body, times: Infinity });
    const { customers } = startGateway(simulator, { callDeadlineMs: 1_200 });

    await expect(customers.testClocks!({ limit: 2, startingAfter: 'clock_0' }, calm)).rejects.toMatchObject({
      code: 'stripe_invalid_response',
      kind: 'retryable',
    });
  });

  test.each(['clock_2', null])('are not believed where a page holds a customer of %s', async (other) => {
    simulator.create({ test_clock: 'clock_1' });
    const stranger = { ...simulator.create(), test_clock: other };
    simulator.fault({ kind: 'status', status: 200, body: { ...list, data: [stranger] }, times: Infinity });
    const { customers } = startGateway(simulator, { callDeadlineMs: 1_200 });

    await expect(customers.list({ limit: 2, testClock: 'clock_1' }, calm)).rejects.toMatchObject({
      code: 'stripe_invalid_response',
    });
  });

  test('are none in live mode', () => {
    const key = simulator.account().keys.secretLive;

    expect(startGateway({ url: simulator.url, key }).customers.testClocks).toBeUndefined();
  });
});

describe('one customer', () => {
  test('is found, deleted, or not in the account', async () => {
    const { id: alive } = simulator.create();
    const { id: gone } = simulator.create();
    simulator.delete(gone);
    const { customers, observed } = startGateway(simulator);

    expect(await customers.retrieve(id(alive), calm)).toMatchObject({
      kind: 'found',
      object: simulator.get(alive),
    });
    expect(await customers.retrieve(id(gone), calm)).toMatchObject({ kind: 'deleted', id: gone });
    expect(await customers.retrieve(id('cus_other'), calm)).toMatchObject({
      kind: 'not_in_account',
      id: 'cus_other',
      observed: { from: expect.any(Date) as Date },
    });
    expect(observed.calls.map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded', 'not_found']);
  });

  test('of another mode is refused for good, listed or retrieved', async () => {
    const { id: alive } = simulator.create();
    simulator.fault({ kind: 'wrongLivemode', times: Infinity });
    const { customers } = startGateway(simulator);
    const wrongMode = {
      code: 'wrong_mode',
      kind: 'fatal',
      message: expect.stringContaining(alive) as string,
    };

    await expect(customers.list({ limit: 10 }, calm)).rejects.toMatchObject(wrongMode);
    await expect(customers.retrieve(id(alive), calm)).rejects.toMatchObject(wrongMode);
    expect(simulator.requests).toHaveLength(2);
  });

  test('with another id than the one asked for is never taken for it', async () => {
    const { id: alive } = simulator.create();
    simulator.fault({
      kind: 'status',
      status: 200,
      body: { id: 'cus_other', object: 'customer', deleted: true },
    });
    const { customers, observed } = startGateway(simulator);

    expect(await customers.retrieve(id(alive), calm)).toMatchObject({ kind: 'found' });
    expect(observed.calls.map(({ outcome }) => outcome)).toEqual(['invalid_response', 'succeeded']);
  });

  test('is not concluded to be missing from a 404 that is not about it', async () => {
    const body = { error: { type: 'invalid_request_error', message: 'Unrecognized request URL' } };
    simulator.fault({ kind: 'status', status: 404, body });
    simulator.fault({ kind: 'html', status: 404, skip: 1 });
    const { customers } = startGateway(simulator);

    await expect(customers.retrieve(id('cus_1'), calm)).rejects.toMatchObject({ code: 'stripe_rejected' });
    expect(await customers.retrieve(id('cus_1'), calm)).toMatchObject({ kind: 'not_in_account' });
  });
});

test('ids that are none never reach a URL', async () => {
  const { customers } = startGateway(simulator);
  const none = ['', 'cus_1\0', '\ud800', 'a\udc00', 'a'.repeat(256), '😀'.repeat(256)];

  for (const value of [...none, null, undefined, 7, {}, ['cus_1'], { toString: () => 'cus_1' }]) {
    await expect(customers.retrieve(id(value), calm)).rejects.toMatchObject({
      code: 'invalid_id',
      kind: 'terminal',
    });
  }
  for (const value of none) {
    const query = { limit: 1, startingAfter: id(value) };
    await expect(customers.list(query, calm)).rejects.toMatchObject({ code: 'invalid_id' });
  }
  expect(simulator.requests).toEqual([]);
});

const everAllowed = [
  'jane.doe@example.com',
  'user:42',
  'auth0|abc',
  'a/b',
  '../account',
  '...',
  'cus_1/sources',
  'cus_1?x=1#y&limit=3',
  '%2e%2e',
  'a%2Fb',
  ' a b ',
  'a\tb\nc',
  'ключ',
  'a+b[c]{d}',
  '$where',
  '__proto__',
  '"\'`\\',
  '\u202e\u0085\u2028',
  '😀'.repeat(255),
];

test.each(everAllowed)('the id %j reaches Stripe as it is, in a path and as a cursor', async (value) => {
  simulator.create({ id: value, created: 20 });
  simulator.create({ id: 'cus_older', created: 10 });
  const { customers } = startGateway(simulator);

  const found = await customers.retrieve(id(value), calm);
  const page = await customers.list({ limit: 1, startingAfter: id(value) }, calm);

  expect(found).toMatchObject({ kind: 'found', object: { id: value } });
  expect(page).toMatchObject({ objects: [{ id: 'cus_older' }] });
});

test.each(['.', '..', 'search'])('the id %j is listed, but Stripe is not asked for it', async (value) => {
  simulator.create({ id: value, created: 20 });
  simulator.create({ id: 'cus_older', created: 10 });
  const { customers } = startGateway(simulator);

  const page = await customers.list({ limit: 1 }, calm);
  const next = await customers.list({ limit: 1, startingAfter: id(value) }, calm);

  expect(page).toMatchObject({ objects: [{ id: value }], invalid: [] });
  expect(next).toMatchObject({ objects: [{ id: 'cus_older' }] });
  expect(await customers.retrieve(id(value), calm)).toEqual({ kind: 'no_url', id: value });
  expect(simulator.requests).toHaveLength(2);
});

test('a key learns its account where it may', async () => {
  const full = startGateway(simulator);
  const restricted = startGateway({ url: simulator.url, key: simulator.restrictedKey });

  expect(await full.gateway.account(calm)).toEqual({ kind: 'account', id: simulator.account().id });
  expect(await restricted.gateway.account(calm)).toEqual({ kind: 'unknown' });
  expect(await restricted.customers.list({ limit: 1 }, calm)).toMatchObject({ kind: 'page' });

  // Servers that imitate Stripe answer so.
  simulator.fault({ kind: 'status', status: 404, body: 'Not found', endpoint: 'GET /v1/account' });
  expect(await full.gateway.account(calm)).toEqual({ kind: 'unknown' });
});
