// The simulator answers as Stripe documents it, seen through the official SDK. What tests may order on top of it
// (faults, limits, latency, holds, its own process) is proven in test/simulator/.

import fc from 'fast-check';
import Stripe from 'stripe';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  DEFAULT_ACCOUNT_ID,
  DEFAULT_API_VERSION,
  startSimulator,
  type StripeSimulator,
} from '../simulator/index.js';
import { stripeClient } from '../simulator/stripe-client.js';

const NEW_YEAR = 1_735_689_600;

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
  simulator.account().live.clear();
  simulator.clock.setOffset(0);
});

describe('listing customers', () => {
  it('gives the newest first, ten by default, and says whether more follow', async () => {
    const ids = createMany(12);

    const first = await stripe.customers.list();
    const rest = await stripe.customers.list({ starting_after: first.data.at(-1)!.id });

    expect(idsOf(first)).toEqual(ids.slice(0, 10));
    expect(first).toMatchObject({ object: 'list', url: '/v1/customers', has_more: true });
    expect(idsOf(rest)).toEqual(ids.slice(10));
    expect(rest.has_more).toBe(false);
  });

  it('says that nothing follows a last page that is exactly full', async () => {
    createMany(4);

    expect((await stripe.customers.list({ limit: 4 })).has_more).toBe(false);
    expect((await stripe.customers.list({ limit: 3 })).has_more).toBe(true);
  });

  it('orders customers of one second by when they were made, the last first', async () => {
    const made = [1, 2, 3].map((n) => simulator.create({ created: NEW_YEAR, name: `${n}` }).id);

    expect(idsOf(await stripe.customers.list())).toEqual(made.toReversed());
  });

  it('puts a customer made with an older second in its place', async () => {
    const [newest, oldest] = createMany(2);
    const between = simulator.create({ created: NEW_YEAR + 30 }).id;

    expect(idsOf(await stripe.customers.list())).toEqual([newest, between, oldest]);
  });

  it('gives the page just before ending_before, newest first', async () => {
    const ids = createMany(6);

    const page = await stripe.customers.list({ ending_before: ids[4]!, limit: 2 });
    const top = await stripe.customers.list({ ending_before: ids[1]!, limit: 2 });

    expect(idsOf(page)).toEqual([ids[2], ids[3]]);
    expect(page.has_more).toBe(true);
    expect(idsOf(top)).toEqual([ids[0]]);
    expect(top.has_more).toBe(false);
  });

  it('walks all pages for the SDK that follows them by itself', async () => {
    const ids = createMany(25);

    const walked = await stripe.customers.list({ limit: 7 }).autoPagingToArray({ limit: 1000 });

    expect(walked.map((customer) => customer.id)).toEqual(ids);
  });

  it.each([
    [{ gt: NEW_YEAR + 60 }, [3, 2]],
    [{ gte: NEW_YEAR + 60 }, [3, 2, 1]],
    [{ lt: NEW_YEAR + 60 }, [0]],
    [{ lte: NEW_YEAR + 60 }, [1, 0]],
    [{ gt: NEW_YEAR, lt: NEW_YEAR + 180 }, [2, 1]],
    [NEW_YEAR + 120, [2]],
    [{ gt: NEW_YEAR + 180 }, []],
  ])('keeps to created %j', async (created, minutes) => {
    for (const n of [0, 1, 2, 3]) simulator.create({ created: NEW_YEAR + n * 60, name: `${n}` });

    const page = await stripe.customers.list({ created });

    expect(page.data.map((customer) => Number(customer.name))).toEqual(minutes);
  });

  it('applies both the window and the position of a cursor from elsewhere', async () => {
    const ids = createMany(6);
    const window = { gte: NEW_YEAR + 120, lt: NEW_YEAR + 240 };

    const older = await stripe.customers.list({ created: window, starting_after: ids[5]! });
    const newer = await stripe.customers.list({ created: window, starting_after: ids[0]! });

    expect(older.data).toEqual([]);
    expect(older.has_more).toBe(false);
    expect(idsOf(newer)).toEqual([ids[2], ids[3]]);
  });

  it('finds an e-mail address exactly, case included', async () => {
    const { id } = simulator.create({ email: 'ada@example.com' });
    simulator.create({ email: 'Ada@example.com' });
    simulator.seed({ count: 50 });
    const seeded = simulator.list().at(-1)!;

    expect(idsOf(await stripe.customers.list({ email: 'ada@example.com' }))).toEqual([id]);
    expect(idsOf(await stripe.customers.list({ email: seeded.email! }))).toEqual([seeded.id]);
    expect((await stripe.customers.list({ email: 'nobody@example.com' })).data).toEqual([]);
  });

  it('leaves out deleted customers and those of a test clock, unless the clock is asked for', async () => {
    const [kept, gone] = createMany(2);
    simulator.delete(gone!);
    const { id } = simulator.create({ test_clock: 'clock_1' });

    expect(idsOf(await stripe.customers.list())).toEqual([kept]);
    expect(idsOf(await stripe.customers.list({ test_clock: 'clock_1' }))).toEqual([id]);
    expect(simulator.listIds()).toEqual([kept]);
  });

  it.each([
    ['limit=0', 'parameter_invalid_integer', 'limit', 'This value must be greater than or equal to 1.'],
    ['limit=101', 'parameter_invalid_integer', 'limit', /less than or equal to 100/],
    ['limit=ten', 'parameter_invalid_integer', 'limit', 'Invalid integer: ten'],
    ['created[gte]=today', 'parameter_invalid_integer', 'created[gte]', 'Invalid integer: today'],
    ['page=2', 'parameter_unknown', 'page', 'Received unknown parameter: page'],
    ['a=1&b=2', 'parameter_unknown', 'a', 'Received unknown parameters: a, b'],
    ['created[after]=1', 'parameter_unknown', 'created[after]', /created\[after\]/],
    ['starting_after=', 'parameter_invalid_empty', 'starting_after', /empty string/],
    ['starting_after=cus_no', 'resource_missing', 'starting_after', "No such customer: 'cus_no'"],
    ['ending_before=cus_no', 'resource_missing', 'ending_before', "No such customer: 'cus_no'"],
  ])('refuses %s with 400 %s', async (query, code, param, message) => {
    const error = await refusal(stripe.rawRequest('GET', `/v1/customers?${query}`));

    expect(error).toBeInstanceOf(Stripe.errors.StripeInvalidRequestError);
    expect(error).toMatchObject({ statusCode: 400, rawType: 'invalid_request_error', code, param });
    expect(error.message).toMatch(message);
    expect(error.doc_url).toBe(`https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}`);
  });

  it('refuses both cursors at once, without a code', async () => {
    const [newest, oldest] = createMany(2);

    const error = await refusal(stripe.customers.list({ starting_after: newest!, ending_before: oldest! }));

    expect(error.statusCode).toBe(400);
    expect(error.code).toBeUndefined();
    expect(error.message).toBe(
      'Received both starting_after and ending_before parameters. Please pass in only one.',
    );
  });

  it('refuses a deleted customer as cursor', async () => {
    const [newest] = createMany(2);
    simulator.delete(newest!);

    const error = await refusal(stripe.customers.list({ starting_after: newest! }));

    expect(error).toMatchObject({ statusCode: 400, code: 'resource_missing', param: 'starting_after' });
  });

  it('can be told to clamp the limit and to go on from a deleted cursor', async () => {
    await using lenient = await startSimulator({ limitOutOfRange: 'clamp', deletedCursor: 'position' });
    const ids = [1, 2, 3].map((n) => lenient.create({ created: NEW_YEAR + n }).id);
    lenient.delete(ids[1]!);

    const client = stripeClient(lenient);

    expect((await client.customers.list({ limit: 0 })).data).toHaveLength(1);
    expect((await client.customers.list({ limit: 1000 })).data).toHaveLength(2);
    expect(idsOf(await client.customers.list({ starting_after: ids[1]! }))).toEqual([ids[0]]);
  });

  it('gives each matching customer once and in order, whichever way the pages are walked', async () => {
    const second = fc.integer({ min: NEW_YEAR, max: NEW_YEAR + 4 });
    const customer = fc.record({
      created: second,
      email: fc.constantFrom('a@example.com', 'b@example.com', null),
      fate: fc.constantFrom('kept', 'kept', 'kept', 'deleted', 'on a clock'),
    });
    const filter = fc.record(
      { gte: second, lt: second, email: fc.constantFrom('a@example.com', 'b@example.com') },
      { requiredKeys: [] },
    );

    await fc.assert(
      fc.asyncProperty(
        fc.array(customer, { maxLength: 25 }),
        filter,
        fc.integer({ min: 1, max: 9 }),
        async (population, { email, ...created }, limit) => {
          simulator.clear();
          const made = population.map(({ fate, ...fields }) => {
            const { id } = simulator.create({
              ...fields,
              test_clock: fate === 'on a clock' ? 'clock_1' : null,
            });
            if (fate === 'deleted') simulator.delete(id);
            return { id, fate, ...fields };
          });
          const expected = made
            .map((one, place) => ({ ...one, place }))
            .filter((one) => one.fate === 'kept' && (email === undefined || one.email === email))
            .filter((one) => one.created >= (created.gte ?? 0) && one.created < (created.lt ?? Infinity))
            .sort((a, b) => b.created - a.created || b.place - a.place)
            .map((one) => one.id);
          const params = { ...(email === undefined ? {} : { email }), created, limit };

          expect(await walkForward(params)).toEqual(expected);
          if (expected.length > 0) expect(await walkBackward(params, expected.at(-1)!)).toEqual(expected);
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('retrieving a customer', () => {
  it('gives the whole customer as the pinned version has it', async () => {
    const { id } = simulator.create({ name: 'Ada', email: 'ada@example.com', created: NEW_YEAR });

    const customer = await stripe.customers.retrieve(id);

    expect(customer).toEqual({
      id,
      object: 'customer',
      address: null,
      balance: 0,
      created: NEW_YEAR,
      currency: null,
      customer_account: null,
      default_source: null,
      delinquent: false,
      description: null,
      discount: null,
      email: 'ada@example.com',
      invoice_prefix: expect.stringMatching(/^[0-9A-Z]{8}$/) as string,
      invoice_settings: {
        custom_fields: null,
        default_payment_method: null,
        footer: null,
        rendering_options: null,
      },
      livemode: false,
      metadata: {},
      name: 'Ada',
      next_invoice_sequence: 1,
      phone: null,
      preferred_locales: [],
      shipping: null,
      tax_exempt: 'none',
      test_clock: null,
    });
  });

  it('shows seeded customers with the same fields as created ones', async () => {
    const created = simulator.create({});
    simulator.seed({ count: 30, from: 1, to: NEW_YEAR, testClockShare: 0.2 });
    const fields = Object.keys(created).sort();

    const seeded = await stripe.customers.list({ limit: 100, created: { lte: NEW_YEAR } });

    expect(seeded.data.length).toBeGreaterThan(15);
    for (const customer of seeded.data) {
      expect(Object.keys(customer).sort()).toEqual(fields);
      expect(await stripe.customers.retrieve(customer.id)).toEqual(customer);
      expect(simulator.get(customer.id)).toEqual(customer);
    }
  });

  it('answers 200 with a stub for a deleted one', async () => {
    const [id] = createMany(1);
    simulator.delete(id!);

    expect(await stripe.customers.retrieve(id!)).toEqual({ id, object: 'customer', deleted: true });
  });

  it('still gives a customer of a test clock', async () => {
    const { id } = simulator.create({ test_clock: 'clock_1' });

    expect(await stripe.customers.retrieve(id)).toMatchObject({ id, test_clock: 'clock_1' });
  });

  it('answers 404 resource_missing for an unknown one', async () => {
    const error = await refusal(stripe.customers.retrieve('cus_unknown'));

    expect(error).toBeInstanceOf(Stripe.errors.StripeInvalidRequestError);
    expect(error).toMatchObject({
      statusCode: 404,
      code: 'resource_missing',
      param: 'id',
      message: "No such customer: 'cus_unknown'",
      doc_url: 'https://stripe.com/docs/error-codes/resource-missing',
    });
    expect(error.request_log_url).toContain(error.requestId);
  });

  it('hints at the other mode when the id exists there', async () => {
    const { id } = simulator.account().live.create({});

    const error = await refusal(stripe.customers.retrieve(id));

    expect(error.message).toBe(
      `No such customer: '${id}'; a similar object exists in live mode, but a test mode key was used to make this request.`,
    );
  });

  it('decodes the id and records the URL as it came', async () => {
    simulator.create({ id: 'cus_a b/ü' });

    expect(await stripe.customers.retrieve('cus_a b/ü')).toMatchObject({ id: 'cus_a b/ü' });

    expect(simulator.requests.at(-1)).toMatchObject({
      url: '/v1/customers/cus_a%20b%2F%C3%BC',
      endpoint: 'GET /v1/customers/{id}',
    });
  });

  it('accepts expand and refuses other parameters', async () => {
    const [id] = createMany(1);

    expect(await stripe.customers.retrieve(id!, { expand: ['subscriptions'] })).toMatchObject({ id });
    const error = await refusal(stripe.rawRequest('GET', `/v1/customers/${id}?limit=1`));
    expect(error).toMatchObject({ code: 'parameter_unknown', param: 'limit' });
  });

  it('serves raw customers byte for byte, poison included', async () => {
    const raw =
      '{"id":"cus_poison","object":"customer","created":1,"name":"\\ud800","metadata":{"a.b":"$x","$y":"","__proto__":"z"},"new_field":[{}]}';
    simulator.createRaw(raw);
    simulator.createRaw({ id: 'cus_huge', created: 2, description: 'x'.repeat(16_000_000) });

    const text = await (await get('/v1/customers/cus_poison')).text();
    const page = await stripe.customers.list({ limit: 1 });

    expect(text).toBe(raw);
    expect(page.data[0]!.description).toHaveLength(16_000_000);
  });
});

describe('events', () => {
  it('records what happened to a customer, newest first, with the values before a change', async () => {
    const { id } = simulator.create({ name: 'Ada', metadata: { a: '1', b: '2' } });
    simulator.update(id, { name: 'Grace', metadata: { a: '', b: '3', c: '4' } });
    simulator.delete(id);

    const events = await stripe.events.list();

    expect(events.data.map((event) => event.type)).toEqual([
      'customer.deleted',
      'customer.updated',
      'customer.created',
    ]);
    const [deleted, updated, created] = events.data;
    expect(created).toMatchObject({
      object: 'event',
      api_version: DEFAULT_API_VERSION,
      livemode: false,
      data: { object: { id, name: 'Ada' } },
    });
    expect(updated!.data.object).toEqual({
      ...created!.data.object,
      name: 'Grace',
      metadata: { b: '3', c: '4' },
    });
    expect(updated!.data.previous_attributes).toEqual({ name: 'Ada', metadata: { a: '1', b: '2', c: null } });
    expect(deleted!.data).toMatchObject({ object: { id, name: 'Grace' } });
    expect(created!.data).not.toHaveProperty('previous_attributes');
  });

  it('filters by type, by several types and by groups', async () => {
    const { id } = simulator.create({});
    simulator.update(id, { name: 'Grace' });
    simulator.delete(id);
    const typesOf = async (params: Stripe.EventListParams) =>
      (await stripe.events.list(params)).data.map((event) => event.type);

    expect(await typesOf({ type: 'customer.updated' })).toEqual(['customer.updated']);
    expect(await typesOf({ type: 'customer.*' })).toHaveLength(3);
    expect(await typesOf({ types: ['customer.created', 'customer.deleted'] })).toEqual([
      'customer.deleted',
      'customer.created',
    ]);
    expect(await typesOf({ type: 'invoice.paid' })).toEqual([]);
    const bySpelling = await get('/v1/events?types[]=customer.created');
    expect(await bySpelling.json()).toMatchObject({ data: [{ type: 'customer.created' }] });
  });

  it('pages and filters by created as other lists do, and gives single events', async () => {
    createMany(5);
    const now = simulator.clock.seconds();

    const first = await stripe.events.list({ limit: 2 });
    const next = await stripe.events.list({ limit: 3, starting_after: first.data[1]!.id });
    const back = await stripe.events.list({ limit: 5, ending_before: next.data[0]!.id });

    expect(first.has_more).toBe(true);
    expect(next.has_more).toBe(false);
    expect(new Set([...idsOf(first), ...idsOf(next)]).size).toBe(5);
    expect(idsOf(back)).toEqual(idsOf(first));
    expect((await stripe.events.list({ created: { lt: now - 100 } })).data).toEqual([]);
    expect(await stripe.events.retrieve(first.data[0]!.id)).toEqual(first.data[0]);
    const error = await refusal(stripe.events.retrieve('evt_unknown'));
    expect(error).toMatchObject({ statusCode: 404, message: "No such event: 'evt_unknown'" });
  });

  it('forgets events after 30 days', async () => {
    createMany(1);
    const { data } = await stripe.events.list();
    simulator.clock.setOffset(31 * 24 * 3600 * 1000);

    expect(data).toHaveLength(1);
    expect((await stripe.events.list()).data).toEqual([]);
    expect(await refusal(stripe.events.retrieve(data[0]!.id))).toMatchObject({ statusCode: 404 });
  });

  it('records nothing for seeds and for silent changes, unless asked', async () => {
    simulator.seed({ count: 3 });
    simulator.updateRandom(2, { event: false });
    expect((await stripe.events.list()).data).toEqual([]);

    simulator.seed({ count: 3, from: simulator.clock.seconds() - 60, events: true });
    simulator.seed({ count: 3, from: simulator.clock.seconds() - 60, events: true, deletedShare: 1 });
    expect((await stripe.events.list({ type: 'customer.created' })).data).toHaveLength(3);
  });
});

describe('keys and accounts', () => {
  it('gives the account to a secret key', async () => {
    expect(await stripe.accounts.retrieveCurrent()).toMatchObject({
      id: DEFAULT_ACCOUNT_ID,
      object: 'account',
    });
  });

  it('lets a restricted key read customers and events, and names what it lacks for the rest', async () => {
    createMany(1);
    const restricted = stripeClient(simulator, simulator.restrictedKey);

    expect((await restricted.customers.list()).data).toHaveLength(1);
    expect((await restricted.events.list()).data).toHaveLength(1);
    const error = await refusal(restricted.accounts.retrieveCurrent());

    expect(error).toBeInstanceOf(Stripe.errors.StripePermissionError);
    expect(error).toMatchObject({ statusCode: 403, rawType: 'invalid_request_error' });
    expect(error.message).toMatch(
      /^The provided key 'rk_test_\*+\w{6}' does not have the required permissions/,
    );
    expect(error.message).toContain("Having the 'rak_accounts_kyc_basic_read' permission");
    expect(error.message).not.toContain(simulator.restrictedKey);
  });

  it('takes permissions away from a restricted key', async () => {
    const key = ['rk', 'test', 'eventsonly1234'].join('_');
    simulator.addKey(key, { permissions: ['rak_event_read'] });

    const client = stripeClient(simulator, key);

    expect(await refusal(client.customers.list())).toMatchObject({
      statusCode: 403,
      message: expect.stringContaining('rak_customer_read') as string,
    });
    expect((await client.events.list()).data).toEqual([]);
  });

  it.each(['secret', 'restricted'])('refuses every write of a %s key and counts it', async (kind) => {
    const [id] = createMany(1);
    const client = stripeClient(simulator, kind === 'secret' ? simulator.key : simulator.restrictedKey);

    for (const write of [
      () => client.customers.create({ name: 'x' }),
      () => client.customers.update(id!, { name: 'x' }),
      () => client.customers.del(id!),
      () => client.webhookEndpoints.create({ url: 'https://example.com', enabled_events: ['*'] }),
    ]) {
      expect(await refusal(write())).toBeInstanceOf(Stripe.errors.StripePermissionError);
    }

    expect(simulator.writes).toBe(4);
    expect(simulator.get(id!)).toMatchObject({ name: 'customer 1' });
  });

  it('answers 401 without a key, with an unknown and with a revoked one, masking it', async () => {
    const key = ['sk', 'test', 'willberevokedsoonabcd'].join('_');
    simulator.addKey(key);
    const client = stripeClient(simulator, key);
    await client.customers.list();

    simulator.revokeKey(key);
    const error = await refusal(client.customers.list());
    const without = await fetch(`${simulator.url}/v1/customers`);

    expect(error).toBeInstanceOf(Stripe.errors.StripeAuthenticationError);
    expect(error).toMatchObject({ statusCode: 401, rawType: 'invalid_request_error' });
    expect(error.message).toBe(`Invalid API Key provided: sk_test_${'*'.repeat(17)}abcd`);
    expect(without.status).toBe(401);
    expect(await without.text()).toContain('You did not provide an API key.');
  });

  it('answers 401 api_key_expired with an expired key, until it is added again', async () => {
    const key = ['rk', 'test', 'willexpiresoon123456'].join('_');
    simulator.addKey(key);
    simulator.expireKey(key);
    const client = stripeClient(simulator, key);

    const error = await refusal(client.customers.list());
    simulator.addKey(key);

    expect(error).toMatchObject({ statusCode: 401, code: 'api_key_expired' });
    expect(error.message).toMatch(/^Expired API Key provided: rk_test_\*+123456$/);
    expect((await client.customers.list()).object).toBe('list');
  });

  it('takes a key by Basic authentication too', async () => {
    const basic = Buffer.from(`${simulator.key}:`).toString('base64');

    const answer = await fetch(`${simulator.url}/v1/customers`, {
      headers: { Authorization: `Basic ${basic}` },
    });

    expect(answer.status).toBe(200);
  });

  it('keeps accounts apart, and test from live within each', async () => {
    const other = simulator.account('acct_1Other');
    const { id } = other.live.create({ name: 'theirs' });
    createMany(1);

    const theirs = stripeClient(simulator, other.keys.secretLive);

    expect(await theirs.customers.retrieve(id)).toMatchObject({ livemode: true, name: 'theirs' });
    expect((await theirs.customers.list()).data).toHaveLength(1);
    expect((await theirs.accounts.retrieveCurrent()).id).toBe('acct_1Other');
    expect((await stripeClient(simulator, other.keys.secretTest).customers.list()).data).toEqual([]);
    expect(await refusal(stripe.customers.retrieve(id))).toMatchObject({ statusCode: 404 });
  });
});

describe('every answer', () => {
  it('is of the version that the SDK pins, unless another is asked for', () => {
    expect(DEFAULT_API_VERSION).toBe(Stripe.API_VERSION);
  });

  it('carries the date of the simulated clock, a request id of its own and the asked for version', async () => {
    simulator.clock.setOffset(-3_600_000);

    const answers = [
      await get('/v1/customers', { 'Stripe-Version': '2024-06-20' }),
      await get('/v1/customers/cus_unknown'),
      await fetch(`${simulator.url}/v1/customers`),
    ];

    for (const answer of answers) {
      const date = Date.parse(answer.headers.get('date')!);
      expect(Math.abs(date - simulator.clock.now())).toBeLessThan(10_000);
      expect(answer.headers.get('request-id')).toMatch(/^req_[0-9A-Za-z]{14}$/);
      expect(answer.headers.get('content-type')).toBe('application/json');
    }
    expect(new Set(answers.map((answer) => answer.headers.get('request-id'))).size).toBe(3);
    expect(answers.map((answer) => answer.headers.get('stripe-version'))).toEqual([
      '2024-06-20',
      DEFAULT_API_VERSION,
      DEFAULT_API_VERSION,
    ]);
  });

  it('is 400 for a version that is none', async () => {
    const answer = await get('/v1/customers', { 'Stripe-Version': 'latest' });

    expect(answer.status).toBe(400);
    expect(await answer.text()).toContain('Invalid Stripe API version: latest');
  });

  it.each([
    ['/v1/unicorns', 'Unrecognized request URL (GET: /v1/unicorns). Please see https://stripe.com/docs'],
    ['/v1/customers/', 'If you are trying to list objects, remove the trailing slash.'],
    ['/v1/customers/cus_1/sources', 'Unrecognized request URL (GET: /v1/customers/cus_1/sources).'],
    ['/', 'Unrecognized request URL (GET: /).'],
  ])('is 404 for %s', async (path, message) => {
    const answer = await get(path);

    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({
      error: { type: 'invalid_request_error', message: expect.stringContaining(message) as string },
    });
  });
});

function createMany(count: number): string[] {
  const ids: string[] = [];
  for (let n = 1; n <= count; n += 1) {
    ids.unshift(simulator.create({ created: NEW_YEAR + (n - 1) * 60, name: `customer ${n}` }).id);
  }
  return ids;
}

function idsOf(page: { data: { id: string }[] }): string[] {
  return page.data.map(({ id }) => id);
}

async function walkForward(params: Stripe.CustomerListParams): Promise<string[]> {
  const ids: string[] = [];
  for (;;) {
    const cursor = ids.at(-1);
    const page = await stripe.customers.list(
      cursor === undefined ? params : { ...params, starting_after: cursor },
    );
    ids.push(...idsOf(page));
    if (!page.has_more) return ids;
  }
}

async function walkBackward(params: Stripe.CustomerListParams, oldest: string): Promise<string[]> {
  const ids = [oldest];
  for (;;) {
    const page = await stripe.customers.list({ ...params, ending_before: ids[0]! });
    ids.unshift(...idsOf(page));
    if (!page.has_more) return ids;
  }
}

function get(path: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(simulator.url + path, { headers: { Authorization: `Bearer ${simulator.key}`, ...headers } });
}

/** The error a call is refused with. */
async function refusal(call: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Stripe.errors.StripeError) return error;
    throw error;
  }
  throw new Error('The call was answered, but should have been refused');
}
