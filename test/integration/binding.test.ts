// The database belongs to one account and mode, whatever key comes along.
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CustomerObject, startSimulator, type StripeSimulator } from 'stripe-simulator';
import { createBindingStore, resetBinding } from '../../src/mirror/binding-state.js';
import { stateOf } from '../../src/mongo/sync-state.js';
import { customer } from '../../src/resources/customer.js';
import { type BindingCheck, BindingGuard, checkBinding } from '../../src/sync/binding.js';
import type { Mirror, StripeId } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { freshDatabase, ours } from '../support/database.js';
import { openMirror } from '../support/mirror.js';
import { startGateway } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

const database = freshDatabase();
const states = stateOf(ours(database.db));
const customers = database.db.collection<{ _id: string }>('stripe_customers');
const other = 'acct_1Other';

let simulator: StripeSimulator;
let mirror: Mirror;

beforeAll(async () => {
  ({ mirror } = await openMirror(database));
});

beforeEach(async () => {
  await Promise.all([states.deleteMany({}), customers.deleteMany({})]);
  simulator = await startSimulator();
  atEnd(() => simulator.close());
});

/** Every process has looked since. */
const longAgo = (): Date => new Date(Date.now() - 60_000);

/** What checks a key against the database. */
function checkOf(key: string, options: Partial<BindingCheck> = {}): BindingCheck {
  const { gateway } = startGateway({ url: simulator.url, key });
  return {
    source: gateway.source(customer),
    account: (how) => gateway.account(how),
    keyHash: (salt) => gateway.keyHash(salt),
    store: createBindingStore(states),
    mirror,
    expectedAccountId: '',
    signal: new AbortController().signal,
    ...options,
  };
}

/** Checks a key against the database. */
const check = (key: string, options: Partial<BindingCheck> = {}) => checkBinding(checkOf(key, options));

interface Mirrored {
  source: 'list' | 'retrieve' | 'batch';
  deletedBy?: 'stripe' | 'request';
}

/** Puts customers into the mirror, as they are. */
async function mirrored(objects: readonly object[], { source, deletedBy }: Mirrored): Promise<void> {
  const observed = { from: new Date(), to: new Date() };
  const stamp = { source, observed, ...(deletedBy && { deletedBy, deletedAt: new Date() }) };
  await customers.insertMany(
    (objects as { id: string }[]).map((object) => ({ _id: object.id, ...object, _sync: stamp })),
  );
}

/** As many customers of the mirrored account, a second apart. */
const create = (count: number): CustomerObject[] =>
  Array.from({ length: count }, (_, index) => simulator.create({ created: 1_700_000_000 + index }));

/** The other account has customers with the same ids, made at another time. */
function copyToOther(objects: readonly CustomerObject[]): void {
  for (const { id, created } of objects) {
    simulator.account(other).test.create({ id, created: created + 86_400 });
  }
}

/** A restricted key of the account: the first and the second are different keys. */
function keyOf(accountId: string, name: string): string {
  const key = `rk_test_${name}00000000`;
  simulator.addKey(key, { accountId });
  return key;
}

const written = () => states.find().toArray();
const accountId = (): string => simulator.account().id;
const calls = () => simulator.stats.calls;

describe('the first key', () => {
  test('binds the database to its account and mode, and is kept as a salted hash alone', async () => {
    const { id, created } = simulator.create();

    await check(simulator.key);

    const base64 = expect.stringMatching(/^[A-Za-z0-9+/]+=*$/) as string;
    expect(await written()).toEqual([
      {
        _id: 'account-binding',
        accountId: accountId(),
        livemode: false,
        boundAt: expect.any(Date) as Date,
        salt: base64,
        keys: [base64],
        witness: { id, created },
      },
    ]);
    expect(JSON.stringify(await written())).not.toContain(simulator.key.slice(8));
  });

  test.each([403, 404])('binds it to the mode alone where the account answers %d', async (status) => {
    if (status === 404)
      simulator.fault({ kind: 'status', status, endpoint: 'GET /v1/account', times: Infinity });

    const { livemode, accountId: told } = await check(simulator.restrictedKey);

    expect({ livemode, told }).toEqual({ livemode: false, told: undefined });
  });

  test('binds it to the account of the setting where the key may not know it', async () => {
    expect(await check(simulator.restrictedKey, { expectedAccountId: 'acct_1Set' })).toMatchObject({
      accountId: 'acct_1Set',
      livemode: false,
    });
  });

  test('must belong to the account of the setting', async () => {
    await expect(check(simulator.key, { expectedAccountId: other })).rejects.toMatchObject({
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

  test('that may not list customers ends the start, also with an empty mirror, and names the permission', async () => {
    simulator.addKey('rk_test_blind', { permissions: [] });

    await expect(check('rk_test_blind')).rejects.toMatchObject({
      code: 'stripe_permission_denied',
      kind: 'fatal',
      message: expect.stringMatching(/GET \/v1\/customers; .* permission to read customers$/) as string,
    });
    expect(await written()).toEqual([]);
  });
});

describe('a key that was proven before', () => {
  test('needs no proof: neither its account, nor a customer that Stripe still has', async () => {
    await mirrored(create(30), { source: 'list' });
    await check(simulator.restrictedKey);
    const before = await written();
    simulator.clear();
    simulator.reset();

    await check(simulator.restrictedKey);

    expect(calls()['GET /v1/customers/{id}'] ?? 0).toBe(0);
    expect(await written()).toEqual(before.map(({ witness, ...rest }) => rest)); // nothing is listed any more
  });

  test('starts while the account cannot be read, and completes the binding when it can', async () => {
    simulator.addKey('rk_test_full0000', {
      permissions: ['rak_customer_read', 'rak_accounts_kyc_basic_read'],
    });
    const fault = { kind: 'status', endpoint: 'GET /v1/account', times: Infinity } as const;
    simulator.fault({ ...fault, status: 404 });
    await check('rk_test_full0000');
    simulator.clearFaults();
    simulator.fault({ ...fault, status: 500, headers: { 'Stripe-Should-Retry': 'false' } });

    expect(await check('rk_test_full0000')).toMatchObject({ accountId: undefined });
    simulator.clearFaults();

    expect(await check('rk_test_full0000')).toMatchObject({ accountId: accountId() });
    expect(await check('rk_test_full0000')).toMatchObject({ accountId: accountId() });
    expect(await written()).toMatchObject([{ keys: { length: 1 } }]);
  });

  test('is refused all the same when Stripe refuses it', async () => {
    await check(simulator.restrictedKey);
    simulator.expireKey(simulator.restrictedKey);

    await expect(check(simulator.restrictedKey)).rejects.toMatchObject({
      code: 'stripe_key_refused',
      kind: 'fatal',
    });
  });

  test('is one of the last ten', async () => {
    const keys = Array.from({ length: 11 }, (_, index) => keyOf(accountId(), `rotated${index}`));
    await mirrored(create(3), { source: 'list' });
    for (const key of keys) await check(key);
    simulator.clear();

    await check(keys[1]!);
    await expect(check(keys[0]!)).rejects.toMatchObject({ code: 'account_mismatch' });
    expect(await written()).toMatchObject([{ keys: { length: 10 } }]);
  });

  test('costs one list call and no write', async () => {
    simulator.create();
    await check(simulator.key);
    simulator.reset();
    const store = createBindingStore(states);

    await check(simulator.key, { store: { ...store, replace: () => Promise.reject(new Error('a write')) } });

    expect(calls()).toEqual({ 'GET /v1/customers': 1 });
  });

  test('with another setting of the account is refused', async () => {
    await check(simulator.key);

    await expect(check(simulator.key, { expectedAccountId: other })).rejects.toMatchObject({
      code: 'account_mismatch',
    });
  });
});

describe('a new key', () => {
  test('of the same account that may read it is taken', async () => {
    await check(simulator.key);
    await customers.insertOne({ _id: 'cus_gone' });
    const second = 'sk_test_second0000';
    simulator.addKey(second);

    expect(await check(second)).toMatchObject({ accountId: accountId() });
    expect(await written()).toMatchObject([{ keys: { length: 2 } }]);
  });

  test('that knows its account completes a binding without one, after a look at the mirror', async () => {
    await mirrored(create(2), { source: 'list' });
    await check(simulator.restrictedKey);

    await check(simulator.key);

    expect(await written()).toMatchObject([{ accountId: accountId(), keys: { length: 2 } }]);
  });

  test.each<[string, (s: StripeSimulator) => string, string]>([
    ['account', (s) => s.account(other).keys.secretTest, 'account_mismatch'],
    ['mode', (s) => s.account().keys.secretLive, 'wrong_mode'],
    ['mode, restricted', (s) => s.account().keys.restrictedLive, 'wrong_mode'],
  ])('of another %s is refused, and nothing is written', async (_what, wrong, code) => {
    await check(simulator.key);
    const before = await written();

    await expect(check(wrong(simulator))).rejects.toMatchObject({
      code,
      kind: 'fatal',
      message: expect.stringMatching(/MONGODB_DATABASE.*nothing was written/) as string,
    });
    expect(await written()).toEqual(before);
  });

  test.each<[string, Mirrored]>([
    ['read from Stripe', { source: 'list' }],
    ['written by batches', { source: 'batch' }],
    ['marked by a request', { source: 'retrieve', deletedBy: 'request' }],
  ])('that may not know its account is proven by customers %s', async (_what, how) => {
    await check(simulator.restrictedKey);
    await mirrored(create(50), how);

    await check(keyOf(accountId(), 'next'));

    expect(await written()).toMatchObject([{ keys: { length: 2 } }]);
  });

  test('is proven by older customers where the newest are deleted', async () => {
    const all = create(50);
    await mirrored(all, { source: 'list' });
    await check(simulator.restrictedKey);
    for (const { id } of all.slice(3)) simulator.delete(id);

    await check(keyOf(accountId(), 'next'));
  });

  test('is proven by what the former key listed where the mirror holds nothing alive', async () => {
    await mirrored(create(5), { source: 'list', deletedBy: 'stripe' });
    simulator.create();
    await states.insertOne({ _id: 'account-binding', resetAt: longAgo() });
    await check(simulator.restrictedKey);

    await check(keyOf(accountId(), 'next'));
    await expect(check(keyOf(other, 'foreign'))).rejects.toMatchObject({ code: 'account_mismatch' });
  });

  test('is taken where no customer was ever mirrored or listed', async () => {
    await check(simulator.restrictedKey);
    await check(keyOf(accountId(), 'next'));

    // Nothing shows that the former key is of the same account.
    expect(await written()).toMatchObject([{ keys: { length: 1 } }]);
  });

  test('is not judged while Stripe does not answer', async () => {
    await check(simulator.key);
    simulator.fault({
      kind: 'status',
      status: 503,
      headers: { 'Stripe-Should-Retry': 'false' },
      times: Infinity,
    });

    await expect(check(simulator.restrictedKey)).rejects.toMatchObject({
      code: 'stripe_unavailable',
      kind: 'retryable',
    });
  });
});

describe('a key of another account that may not tell its account', () => {
  type Story = (own: CustomerObject[]) => void | Promise<void>;
  const mismatch = 'account_mismatch';
  const unproven = 'account_unproven';
  const others: Story = () => void simulator.account(other).test.seed({ count: 20 });
  const inMirror =
    (how: Mirrored, ...more: Story[]): Story =>
    async (own) => {
      await mirrored(own, how);
      for (const step of more) await step(own);
    };
  const madeUp = (): Promise<void> =>
    mirrored([{ id: 'cus_madeUp', created: 1 }, { id: 'cus_part' }], { source: 'batch' });

  test.each<[string, string, Story]>([
    ['with other customers', mismatch, inMirror({ source: 'list' }, others)],
    ['without customers', mismatch, inMirror({ source: 'list' })],
    ['against a mirror last written by batches', unproven, inMirror({ source: 'batch' }, others)],
    ['against a mirror of made-up entries of batches', unproven, madeUp],
    ['against a mirror of tombstones', unproven, inMirror({ source: 'list', deletedBy: 'stripe' }, others)],
    ['whose customers were copied', mismatch, inMirror({ source: 'list' }, copyToOther)],
    ['whose customers were copied, after batches', mismatch, inMirror({ source: 'batch' }, copyToOther)],
    ['of which some were copied', mismatch, inMirror({ source: 'list' }, (own) => copyToOther(own.slice(9)))],
    [
      'whose copies were deleted',
      unproven,
      inMirror({ source: 'list' }, (own) => {
        copyToOther(own);
        for (const { id } of own) simulator.account(other).test.delete(id);
      }),
    ],
    [
      'of which a batch told',
      mismatch,
      inMirror({ source: 'list' }, () =>
        mirrored([simulator.account(other).test.create()], { source: 'batch' }),
      ),
    ],
    [
      'of which a batch told, among those of other batches',
      unproven,
      inMirror({ source: 'batch' }, () =>
        mirrored([simulator.account(other).test.create()], { source: 'batch' }),
      ),
    ],
    ['against an empty mirror, when the former key has listed a customer', mismatch, () => undefined],
  ])('%s is refused as %s, with and without the setting', async (what, code, arrange) => {
    const own = create(20);
    // Without what the former key listed, as after an upgrade, where the mirror alone shall decide.
    const knows = what.startsWith('against an empty mirror');
    if (knows) await check(simulator.restrictedKey);
    else await states.insertOne({ _id: 'account-binding', livemode: false, accountId: accountId() });
    await arrange(own);
    const before = await written();

    for (const expectedAccountId of ['', ...(knows ? [] : [accountId()])]) {
      await expect(check(keyOf(other, 'foreign'), { expectedAccountId })).rejects.toMatchObject({
        code,
        kind: 'fatal',
        message: expect.stringMatching(
          knows ? /bind --reset/ : /rak_accounts_kyc_basic_read.*MONGODB_DATABASE.*bind --reset/,
        ) as string,
      });
    }
    expect(await written()).toEqual(before);
  });

  test('costs at most ten reads of mirrored customers', async () => {
    await mirrored(create(40), { source: 'list' });

    await expect(check(keyOf(other, 'foreign'))).rejects.toMatchObject({ code: 'account_mismatch' });

    expect(calls()).toEqual({ 'GET /v1/account': 1, 'GET /v1/customers/{id}': 10 });
  });
});

describe('after a reset', () => {
  const reset = () =>
    states.replaceOne({ _id: 'account-binding' }, { resetAt: new Date() }, { upsert: true }); // the next key waits

  test.each([0, 3])('the next key binds, and what stays proves nothing (it lists %d)', async (count) => {
    await mirrored(create(20), { source: 'list' });
    await check(simulator.restrictedKey);
    await reset();
    if (count > 0) simulator.account(other).test.seed({ count });

    await check(keyOf(other, 'next'));

    expect(await written()).toMatchObject([{ livemode: false, keys: { length: 1 } }]);
    expect((await written())[0]).not.toHaveProperty('resetAt');
    await expect(check(simulator.restrictedKey)).rejects.toMatchObject({
      code: count > 0 ? 'account_mismatch' : 'account_unproven',
    });
  });

  test('what is mirrored since then proves a key again', async () => {
    await reset();
    await check(keyOf(accountId(), 'first'));
    await mirrored(create(3), { source: 'list' });

    await check(keyOf(accountId(), 'second'));
    await expect(check(keyOf(other, 'foreign'))).rejects.toMatchObject({ code: 'account_mismatch' });
  });

  test('of two keys at once one binds', async () => {
    for (const accountIds of [accountId(), other].map((id) => [id, other])) {
      await reset();
      simulator.create();
      simulator.account(other).test.create();
      const keys = accountIds.map((id, index) => keyOf(id, `atOnce${index}`));

      const results = await Promise.allSettled(keys.map((key) => check(key)));

      const bound = results.filter(({ status }) => status === 'fulfilled').length;
      expect(bound).toBe(new Set(accountIds).size === 1 ? 2 : 1);
    }
  });
});

test('a binding that somebody has edited ends the start, and says what to do', async () => {
  await states.insertOne({ _id: 'account-binding', livemode: false, accountId: 7 });

  await expect(check(simulator.restrictedKey)).rejects.toMatchObject({
    code: 'mongodb_rejected',
    kind: 'fatal',
    message: expect.stringContaining('bind --reset') as string,
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

describe('a process at work', () => {
  test('goes on while its key is known, at one look for many answers', async () => {
    await check(simulator.key);
    let looks = 0;
    const store = createBindingStore(states);
    const counting = { ...store, read: () => ((looks += 1), store.read()) };
    const guard = new BindingGuard(checkOf(simulator.key, { store: counting }));
    const before = structuredClone(calls());

    for (let answer = 0; answer < 50; answer += 1) await guard.confirm();
    await Promise.all(Array.from({ length: 50 }, () => guard.confirm()));

    expect({ looks, calls: calls() }).toEqual({ looks: 1, calls: before });
  });

  test('uses no answer after a reset, whether or not a key has bound the database since', async () => {
    await check(simulator.restrictedKey);
    const guard = new BindingGuard(checkOf(simulator.restrictedKey));
    await resetBinding(states);

    await expect(guard.confirm()).rejects.toMatchObject({ kind: 'fatal', code: 'account_unproven' });
    await states.updateOne({ _id: 'account-binding' }, { $set: { resetAt: longAgo() } });
    const theirs = simulator.account(other);
    theirs.test.create();
    await check(theirs.keys.restrictedTest);
    simulator.create();
    const before = await written();
    await expect(guard.confirm()).rejects.toMatchObject({ kind: 'fatal' });

    expect(await written()).toEqual(before);
  });

  test('has looked, and is refused, before the next key binds the database', async () => {
    await check(simulator.restrictedKey);
    const guard = new BindingGuard(checkOf(simulator.restrictedKey));
    await guard.confirm(); // believed for some seconds
    await resetBinding(states);
    const events: string[] = [];

    const binding = check(simulator.account(other).keys.restrictedTest).then(() => events.push('bound'));
    const refusing = until(
      () =>
        guard.confirm().then(
          () => false,
          () => events.push('refused'),
        ),
      { what: 'the refusal' },
    );
    await Promise.all([binding, refusing]);

    expect(events).toEqual(['refused', 'bound']);
  });

  test('proves its key again where the binding is gone', async () => {
    await check(simulator.key);
    const bound = await written();
    await states.deleteMany({});

    await new BindingGuard(checkOf(simulator.key)).confirm();

    expect(await written()).toMatchObject([{ _id: 'account-binding', accountId: bound[0]?.['accountId'] }]);
  });
});

test("a new key file with another account's key is refused while the daemon runs, and the old key stays", async () => {
  await check(simulator.key);
  const { id } = simulator.create();
  let file = simulator.key;
  const { customers: source, lines } = startGateway(
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
          keyHash: (salt) => candidate.keyHash(salt),
          mirror,
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
    await source.retrieve(id as StripeId, { priority: 'small', signal: new AbortController().signal }),
  ).toMatchObject({
    kind: 'found',
  });
  expect(await written()).toEqual(before);
});
