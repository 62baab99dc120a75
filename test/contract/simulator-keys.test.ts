// Keys and accounts of the simulator: as Stripe documents them, seen through the official SDK.
import Stripe from 'stripe';
import { DEFAULT_ACCOUNT_ID, stripeClient } from 'stripe-simulator';
import { describe, expect, it } from 'vitest';
import { createMany, refusal, simulatedStripe } from '../support/simulated-stripe.js';

const { simulator, stripe } = await simulatedStripe();

describe('keys and accounts', () => {
  it('gives the account to a secret key', async () => {
    expect(await stripe.accounts.retrieveCurrent()).toMatchObject({
      id: DEFAULT_ACCOUNT_ID,
      object: 'account',
    });
  });

  it('lets a restricted key read customers and events, and names what it lacks for the rest', async () => {
    createMany(simulator, 1);
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
    const [id] = createMany(simulator, 1);
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
    createMany(simulator, 1);

    const theirs = stripeClient(simulator, other.keys.secretLive);

    expect(await theirs.customers.retrieve(id)).toMatchObject({ livemode: true, name: 'theirs' });
    expect((await theirs.customers.list()).data).toHaveLength(1);
    expect((await theirs.accounts.retrieveCurrent()).id).toBe('acct_1Other');
    expect((await stripeClient(simulator, other.keys.secretTest).customers.list()).data).toEqual([]);
    expect(await refusal(stripe.customers.retrieve(id))).toMatchObject({ statusCode: 404 });
  });
});
