// What the simulator gives for one customer: as Stripe documents it, seen through the official SDK.
import Stripe from 'stripe';
import { describe, expect, it } from 'vitest';
import { NEW_YEAR, createMany, get, refusal, simulatedStripe } from '../support/simulated-stripe.js';

const { simulator, stripe } = await simulatedStripe();

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
    const [id] = createMany(simulator, 1);
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
    const [id] = createMany(simulator, 1);

    expect(await stripe.customers.retrieve(id!, { expand: ['subscriptions'] })).toMatchObject({ id });
    const error = await refusal(stripe.rawRequest('GET', `/v1/customers/${id}?limit=1`));
    expect(error).toMatchObject({ code: 'parameter_unknown', param: 'limit' });
  });

  it('serves raw customers byte for byte, poison included', async () => {
    const raw =
      '{"id":"cus_poison","object":"customer","created":1,"name":"\\ud800","metadata":{"a.b":"$x","$y":"","__proto__":"z"},"new_field":[{}]}';
    simulator.createRaw(raw);
    simulator.createRaw({ id: 'cus_huge', created: 2, description: 'x'.repeat(16_000_000) });

    const text = await (await get(simulator, '/v1/customers/cus_poison')).text();
    const page = await stripe.customers.list({ limit: 1 });

    expect(text).toBe(raw);
    expect(page.data[0]!.description).toHaveLength(16_000_000);
  });
});
