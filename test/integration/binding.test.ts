// The database belongs to one account and mode, whatever key comes along.
import { beforeEach, describe, expect, test } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { createBindingStore } from '../../src/mirror/binding-state.js';
import { stateOf } from '../../src/mongo/sync-state.js';
import { customer } from '../../src/resources/customer.js';
import { type BindingCheck, checkBinding } from '../../src/sync/binding.js';
import type { StripeId } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase } from '../support/database.js';
import { startGateway } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

const database = freshDatabase();
const states = stateOf(database.db);
const other = 'acct_1Other';

let simulator: StripeSimulator;

beforeEach(async () => {
  await states.deleteMany({});
  simulator = await startSimulator();
  atEnd(() => simulator.close());
});

/** Checks a key against the database, whose mirror holds these ids. */
function check(key: string, mirrored: readonly string[] = [], options: Partial<BindingCheck> = {}) {
  const { gateway } = startGateway({ url: simulator.url, key });
  return checkBinding({
    source: gateway.source(customer),
    account: (how) => gateway.account(how),
    store: createBindingStore(states),
    mirror: { sampleIds: async (count) => mirrored.slice(0, count) as StripeId[] },
    expectedAccountId: '',
    signal: new AbortController().signal,
    ...options,
  });
}

const written = () => states.find().toArray();

describe('the first key', () => {
  test('binds the database to its account and mode', async () => {
    const accountId = simulator.account().id;

    expect(await check(simulator.key)).toEqual({ accountId, livemode: false });

    expect(await written()).toEqual([
      { _id: 'account-binding', accountId, livemode: false, boundAt: expect.any(Date) as Date },
    ]);
  });

  test('binds it to the mode alone where the key may not know its account', async () => {
    expect(await check(simulator.restrictedKey)).toEqual({ livemode: false });
  });

  test('binds it to the account of the setting where the key may not know it', async () => {
    expect(await check(simulator.restrictedKey, [], { expectedAccountId: 'acct_1Set' })).toEqual({
      accountId: 'acct_1Set',
      livemode: false,
    });
  });

  test('must belong to the account of the setting', async () => {
    await expect(check(simulator.key, [], { expectedAccountId: other })).rejects.toMatchObject({
      code: 'account_mismatch',
      kind: 'fatal',
      message: expect.stringContaining(`STRIPE_ACCOUNT_ID is ${other}`) as string,
    });
    expect(await written()).toEqual([]);
  });

  test.each(['revoked', 'expired'])('that is %s ends the start and says what to do', async (how) => {
    const { key } = simulator;
    if (how === 'revoked') simulator.revokeKey(key);
    else simulator.expireKey(key);

    await expect(check(key)).rejects.toMatchObject({
      code: 'stripe_key_refused',
      kind: 'fatal',
      message: expect.stringMatching(/STRIPE_API_KEY was refused by Stripe; .*create one/) as string,
    });
    expect(await written()).toEqual([]);
  });

  test('that may not read customers ends the start where the mirror holds some', async () => {
    simulator.addKey('rk_test_blind', { permissions: [] });

    await expect(check('rk_test_blind', ['cus_1'])).rejects.toMatchObject({
      code: 'stripe_permission_denied',
      kind: 'fatal',
    });
    expect(await written()).toEqual([]);
  });
});

describe('a later key', () => {
  test('of the same account changes nothing', async () => {
    await check(simulator.key);
    const before = await written();

    await check(simulator.key, ['cus_gone']);
    await check(simulator.restrictedKey);

    expect(await written()).toEqual(before);
  });

  test('that knows its account completes a binding without one, after a look at the mirror', async () => {
    const { id } = simulator.create();
    await check(simulator.restrictedKey);

    await check(simulator.key, [id]);

    expect(await written()).toMatchObject([{ accountId: simulator.account().id }]);
  });

  test.each<[string, (s: StripeSimulator) => string, string]>([
    ['account', (s) => s.account(other).keys.secretTest, 'account_mismatch'],
    ['mode', (s) => s.account().keys.secretLive, 'wrong_mode'],
    ['mode, restricted', (s) => s.account().keys.restrictedLive, 'wrong_mode'],
  ])('of another %s is refused, and nothing is written', async (_what, keyOf, code) => {
    await check(simulator.key);
    const before = await written();

    await expect(check(keyOf(simulator))).rejects.toMatchObject({
      code,
      kind: 'fatal',
      message: expect.stringMatching(/MONGODB_DATABASE.*nothing was written/) as string,
    });
    expect(await written()).toEqual(before);
  });

  test('that may not know its account is recognized by the customers it knows', async () => {
    const { id } = simulator.create();
    const { id: deleted } = simulator.create();
    simulator.delete(deleted);
    await check(simulator.key);
    const foreign = simulator.account(other).keys.restrictedTest;
    const before = await written();

    await check(simulator.restrictedKey, ['cus_gone', id]);
    await check(simulator.restrictedKey, ['cus_gone', deleted]);
    await expect(check(foreign, [id, deleted])).rejects.toMatchObject({
      code: 'account_mismatch',
      kind: 'fatal',
      message: expect.stringContaining('of 2 customers') as string,
    });

    expect(await written()).toEqual(before);
  });

  test('is not judged while Stripe does not answer', async () => {
    await check(simulator.key);
    simulator.fault({
      kind: 'status',
      status: 503,
      headers: { 'Stripe-Should-Retry': 'false' },
      times: Infinity,
    });

    await expect(check(simulator.key)).rejects.toMatchObject({
      code: 'stripe_unavailable',
      kind: 'retryable',
    });
  });

  test('costs at most five reads of mirrored customers', async () => {
    const ids = Array.from({ length: 9 }, (_, index) => `cus_gone${index}`);

    await expect(check(simulator.restrictedKey, ids)).rejects.toMatchObject({ code: 'account_mismatch' });

    expect(simulator.stats.calls['GET /v1/customers/{id}']).toBe(5);
  });
});

test('of two replicas that start at once with keys of two accounts one is refused', async () => {
  for (let round = 0; round < 5; round += 1) {
    await states.deleteMany({});
    const keys = [simulator.key, simulator.account(other).keys.secretTest];

    const results = await Promise.allSettled(keys.map((key) => check(key)));

    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const winner = results.findIndex(({ status }) => status === 'fulfilled');
    expect(await written()).toMatchObject([{ accountId: [simulator.account().id, other][winner] }]);
  }
});

test("a new key file with another account's key is refused while the daemon runs, and the old key stays", async () => {
  await check(simulator.key);
  const { id } = simulator.create();
  let file = simulator.key;
  const { customers, lines } = startGateway(
    simulator,
    {},
    {
      readKey: () => file,
      keyReadEveryMs: 20,
      verifyKey: async (candidate, signal) => {
        await checkBinding({
          source: candidate.source(customer),
          account: (how) => candidate.account(how),
          store: createBindingStore(states),
          mirror: { sampleIds: async () => [] },
          expectedAccountId: '',
          signal,
        });
      },
    },
  );
  const before = await written();

  file = simulator.account(other).keys.secretTest;
  await until(() => lines.some((line) => line.includes('account_mismatch')), { what: 'the refusal' });

  expect(
    await customers.retrieve(id as StripeId, { priority: 'small', signal: new AbortController().signal }),
  ).toMatchObject({
    kind: 'found',
  });
  expect(await written()).toEqual(before);
});
