// How the simulator lists customers: as Stripe documents it, seen through the official SDK.
import fc from 'fast-check';
import Stripe from 'stripe';
import { startSimulator, stripeClient } from 'stripe-simulator';
import { describe, expect, it } from 'vitest';
import { createMany, idsOf, NEW_YEAR, refusal, simulatedStripe } from '../support/simulated-stripe.js';

const { simulator, stripe } = await simulatedStripe();

describe('listing test clocks', () => {
  it('gives the clocks of customers that lists leave out, and of each its customers', async () => {
    const listed = simulator.create({}).id;
    const on = simulator.create({ test_clock: 'clock_a' }).id;
    simulator.create({ test_clock: 'clock_b' });

    const clocks = await stripe.testHelpers.testClocks.list({ limit: 100 });
    const customers = await stripe.customers.list({ test_clock: 'clock_a' });

    expect(clocks.data.map(({ id }) => id).sort()).toEqual(['clock_a', 'clock_b']);
    expect(clocks.data[0]).toMatchObject({ object: 'test_helpers.test_clock', livemode: false });
    expect(idsOf(customers)).toEqual([on]);
    expect(idsOf(await stripe.customers.list())).toEqual([listed]);
  });

  it('goes on after a clock, and refuses a key that may not read them, and a live one', async () => {
    for (const name of ['clock_a', 'clock_b', 'clock_c']) simulator.create({ test_clock: name });

    const first = await stripe.testHelpers.testClocks.list({ limit: 2 });
    const rest = await stripe.testHelpers.testClocks.list({ limit: 2, starting_after: first.data[1]!.id });
    const restricted = stripeClient(simulator, simulator.restrictedKey);
    const live = stripeClient(simulator, simulator.account().keys.secretLive);

    expect([first.has_more, rest.has_more]).toEqual([true, false]);
    expect([...first.data, ...rest.data].map(({ id }) => id).sort()).toEqual([
      'clock_a',
      'clock_b',
      'clock_c',
    ]);
    const unknown = { statusCode: 400, code: 'resource_missing' };
    const after = stripe.testHelpers.testClocks.list({ starting_after: 'clock_x' });
    expect(await refusal(after)).toMatchObject({ ...unknown, param: 'starting_after' });
    const of = stripe.customers.list({ test_clock: 'clock_x' });
    expect(await refusal(of)).toMatchObject({ ...unknown, param: 'test_clock' });
    expect(await refusal(restricted.testHelpers.testClocks.list())).toMatchObject({ statusCode: 403 });
    expect(await refusal(live.testHelpers.testClocks.list())).toMatchObject({ statusCode: 400 });
  });
});

describe('deleting a test clock', () => {
  it('deletes its customers; one without customers is listed until then', async () => {
    const { id } = simulator.create({ test_clock: 'clock_d' });
    simulator.createTestClock('clock_e');
    const names = async () =>
      (await stripe.testHelpers.testClocks.list({ limit: 100 })).data.map((clock) => clock.id);
    expect(await names()).toEqual(expect.arrayContaining(['clock_d', 'clock_e']));

    for (const name of ['clock_d', 'clock_e']) simulator.deleteTestClock(name);

    expect(await names()).not.toContain('clock_d');
    expect(await names()).not.toContain('clock_e');
    expect(await stripe.customers.retrieve(id)).toMatchObject({ id, deleted: true });
    expect(() => simulator.deleteTestClock('clock_d')).toThrow('no test clock clock_d');
  });
});

describe('listing customers', () => {
  it('gives the newest first, ten by default, and says whether more follow', async () => {
    const ids = createMany(simulator, 12);

    const first = await stripe.customers.list();
    const rest = await stripe.customers.list({ starting_after: first.data.at(-1)!.id });

    expect(idsOf(first)).toEqual(ids.slice(0, 10));
    expect(first).toMatchObject({ object: 'list', url: '/v1/customers', has_more: true });
    expect(idsOf(rest)).toEqual(ids.slice(10));
    expect(rest.has_more).toBe(false);
  });

  it('says that nothing follows a last page that is exactly full', async () => {
    createMany(simulator, 4);

    expect((await stripe.customers.list({ limit: 4 })).has_more).toBe(false);
    expect((await stripe.customers.list({ limit: 3 })).has_more).toBe(true);
  });

  it('orders customers of one second by when they were made, the last first', async () => {
    const made = [1, 2, 3].map((n) => simulator.create({ created: NEW_YEAR, name: `${n}` }).id);

    expect(idsOf(await stripe.customers.list())).toEqual(made.toReversed());
  });

  it('puts a customer made with an older second in its place', async () => {
    const [newest, oldest] = createMany(simulator, 2);
    const between = simulator.create({ created: NEW_YEAR + 30 }).id;

    expect(idsOf(await stripe.customers.list())).toEqual([newest, between, oldest]);
  });

  it('gives the page just before ending_before, newest first', async () => {
    const ids = createMany(simulator, 6);

    const page = await stripe.customers.list({ ending_before: ids[4]!, limit: 2 });
    const top = await stripe.customers.list({ ending_before: ids[1]!, limit: 2 });

    expect(idsOf(page)).toEqual([ids[2], ids[3]]);
    expect(page.has_more).toBe(true);
    expect(idsOf(top)).toEqual([ids[0]]);
    expect(top.has_more).toBe(false);
  });

  it('walks all pages for the SDK that follows them by itself', async () => {
    const ids = createMany(simulator, 25);

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
    const ids = createMany(simulator, 6);
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
    const [kept, gone] = createMany(simulator, 2);
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
    const [newest, oldest] = createMany(simulator, 2);

    const error = await refusal(stripe.customers.list({ starting_after: newest!, ending_before: oldest! }));

    expect(error.statusCode).toBe(400);
    expect(error.code).toBeUndefined();
    expect(error.message).toBe(
      'Received both starting_after and ending_before parameters. Please pass in only one.',
    );
  });

  it('refuses a deleted customer as cursor', async () => {
    const [newest] = createMany(simulator, 2);
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
