// Refused keys and changed ones.
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { startSimulator, type StripeSimulator } from 'stripe-simulator';
import { Fault } from '../../src/base/errors.js';
import { ApiKey, KeyGate } from '../../src/stripe/key.js';
import type { StripeId } from '../../src/sync/ports.js';
import { atEnd } from '../support/cleanup.js';
import { startGateway } from '../support/stripe-gateway.js';
import { until } from '../support/until.js';

const calm = { priority: 'small', signal: new AbortController().signal } as const;
const anyId = 'cus_any' as StripeId;

test('the hash of a key is known again with the same salt alone, and shows nothing of the key', () => {
  const value = 'rk_test_4eC39HqLyjWDarjtT1zdp7dc';
  const [key, again, other] = [new ApiKey(value), new ApiKey(value), new ApiKey(`${value}0`)];

  const hash = key.hash('salt');

  expect(hash).toBe(again.hash('salt'));
  expect(hash).not.toBe(key.hash('another salt'));
  expect(hash).not.toBe(other.hash('salt'));
  expect(hash).toMatch(/^[A-Za-z0-9+/]{43}=$/);
});

describe('the gate', () => {
  const refusal = new Fault('stripe_key_refused', 'Refused', { kind: 'retryable' });
  const denial = new Fault('stripe_permission_denied', 'Denied', { kind: 'terminal' });

  test('lets at most three calls a minute through while the key is refused', () => {
    let now = 0;
    const gate = new KeyGate(() => now);
    gate.refused('list', refusal);
    const through: number[] = [];

    for (; now < 180_000; now += 250) {
      if (gate.enter(now % 500 === 0 ? 'list' : 'retrieve') === undefined) {
        through.push(now);
        gate.refused('list', refusal);
      }
    }

    for (const start of through) {
      expect(through.filter((time) => time >= start && time < start + 60_000).length).toBeLessThanOrEqual(3);
    }
    expect(through.length).toBeGreaterThanOrEqual(8);
  });

  test('says when the next call may be made', () => {
    let now = 0;
    const gate = new KeyGate(() => now);
    gate.refused('list', refusal);
    now = 5_000;

    expect(gate.heldBack('retrieve')).toMatchObject({
      code: 'stripe_key_refused',
      kind: 'retryable',
      retryAfterMs: 15_000,
    });
  });

  test('opens at the first success', () => {
    const gate = new KeyGate(() => 0);
    gate.refused('list', refusal);

    gate.succeeded('retrieve');

    expect(gate.heldBack('list')).toBeUndefined();
  });

  test('holds back only the endpoint that a key may not read', () => {
    const gate = new KeyGate(() => 0);
    gate.refused('list', denial);

    expect(gate.heldBack('list')).toMatchObject({ code: 'stripe_permission_denied', kind: 'terminal' });
    expect(gate.heldBack('retrieve')).toBeUndefined();
  });
});

describe('a key in use', () => {
  let simulator: StripeSimulator;
  const newKey = 'sk_test_rotated';

  beforeEach(async () => {
    simulator = await startSimulator();
    atEnd(() => simulator.close());
    simulator.create({ id: anyId });
  });

  test('that is revoked is tried no more than once, and everything after fails fast and may be tried again', async () => {
    const { customers, lines } = startGateway(simulator);
    simulator.revokeKey(simulator.key);

    const faults = [];
    for (let call = 0; call < 20; call += 1) {
      faults.push(await customers.retrieve(anyId, calm).catch((error: unknown) => error));
    }

    for (const fault of faults)
      expect(fault).toMatchObject({ code: 'stripe_key_refused', kind: 'retryable' });
    expect(faults.at(-1)).toMatchObject({ retryAfterMs: expect.any(Number) as number });
    expect(simulator.requests).toHaveLength(1);
    expect(lines.filter((line) => line.includes('Stripe refuses the key'))).toHaveLength(1);
  });

  test('that is revoked while calls wait for a place lets none of them through', async () => {
    const { customers } = startGateway(simulator, { maxInFlight: 1 });
    simulator.revokeKey(simulator.key);

    const calls = Array.from({ length: 10 }, () =>
      customers.retrieve(anyId, calm).catch((error: unknown) => error),
    );

    for (const fault of await Promise.all(calls)) expect(fault).toMatchObject({ code: 'stripe_key_refused' });
    expect(simulator.requests).toHaveLength(1);
  });

  test('that Stripe takes again is used freely after one trial', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    atEnd(() => void vi.useRealTimers());
    const { customers } = startGateway(simulator);
    const { key } = simulator;
    simulator.revokeKey(key);
    const retrieve = () => customers.retrieve(anyId, calm);
    await expect(retrieve()).rejects.toMatchObject({ code: 'stripe_key_refused' });
    simulator.addKey(key);
    await expect(retrieve()).rejects.toMatchObject({ code: 'stripe_key_refused' });

    vi.advanceTimersByTime(20_000);

    expect(await retrieve()).toMatchObject({ kind: 'found' });
    expect(await retrieve()).toMatchObject({ kind: 'found' });
  });

  test('is exchanged for the one in its file after that was tried out', async () => {
    const oldKey = simulator.key;
    simulator.addKey(newKey);
    let file = oldKey;
    const verified: unknown[] = [];
    const { customers, gateway, lines } = startGateway(
      simulator,
      {},
      {
        readKey: () => file,
        keyReadEveryMs: 20,
        verifyKey: async (candidate, signal) => {
          verified.push(await candidate.account({ priority: 'small', signal }));
        },
      },
    );
    await customers.retrieve(anyId, calm);

    file = newKey;
    await until(() => lines.some((line) => line.includes('The new Stripe key is in use')), {
      what: 'the new key',
    });
    simulator.revokeKey(oldKey);

    expect(await customers.retrieve(anyId, calm)).toMatchObject({ kind: 'found' });
    expect(verified).toEqual([{ kind: 'account', id: simulator.account().id }]);
    expect(simulator.requests.at(-1)).toMatchObject({ keySuffix: 'ated' });
    expect(gateway.livemode).toBe(false);
    expect(lines.join('')).not.toContain(newKey);
  });

  test('is looked for at once when Stripe refuses it', async () => {
    simulator.addKey(newKey);
    let file = simulator.key;
    const { customers } = startGateway(simulator, {}, { readKey: () => file });
    file = newKey;
    simulator.revokeKey(simulator.key);

    await expect(customers.retrieve(anyId, calm)).rejects.toMatchObject({ code: 'stripe_key_refused' });

    // Thirty seconds would pass without the refusal.
    await until(() => customers.retrieve(anyId, calm), { what: 'the new key to be used', timeoutMs: 3_000 });
  });

  test.each<[string, string, Fault]>([
    [
      'another account',
      'sk_test_foreign',
      new Fault('account_mismatch', 'Another account', { kind: 'fatal' }),
    ],
    ['another mode', 'sk_live_foreign', new Fault('wrong_mode', 'unused', { kind: 'fatal' })],
  ])('is not exchanged for one of %s, and that is said once', async (_what, foreign, fault) => {
    let reads = 0;
    let trials = 0;
    let file = simulator.key;
    const { customers, lines } = startGateway(
      simulator,
      {},
      {
        readKey: () => {
          reads += 1;
          return file;
        },
        keyReadEveryMs: 10,
        verifyKey: () => {
          trials += 1;
          return Promise.reject(fault);
        },
      },
    );

    file = foreign;
    await until(() => lines.some((line) => line.includes('the old one stays in use')), {
      what: 'the refusal',
    });
    const readsBefore = reads;
    await until(() => reads > readsBefore + 5, { what: 'more looks' });

    expect(lines.filter((line) => line.includes('the old one stays in use'))).toHaveLength(1);
    expect(trials).toBeLessThanOrEqual(1);
    expect(lines.join('')).toContain(fault.code);
    expect(await customers.retrieve(anyId, calm)).toMatchObject({ kind: 'found' });
  });

  test('is exchanged once Stripe can tell, and until then that is said once', async () => {
    simulator.addKey(newKey);
    let file = simulator.key;
    let trials = 0;
    const { lines } = startGateway(
      simulator,
      {},
      {
        readKey: () => file,
        keyReadEveryMs: 10,
        verifyKey: async () => {
          trials += 1;
          if (trials < 5) throw new Fault('stripe_unavailable', 'Stripe failed', { kind: 'retryable' });
        },
      },
    );

    file = newKey;
    await until(() => lines.some((line) => line.includes('The new Stripe key is in use')), {
      what: 'the new key',
    });

    expect(trials).toBe(5);
    expect(lines).toHaveLength(2);
  });

  test('stays in use while its file cannot be read', async () => {
    let reads = 0;
    const { customers, lines } = startGateway(
      simulator,
      {},
      {
        readKey: () => {
          reads += 1;
          throw new Error(`ENOENT ${newKey}`);
        },
        keyReadEveryMs: 10,
      },
    );

    await until(() => reads > 5, { what: 'some looks' });

    expect(lines).toHaveLength(1);
    expect(lines.join('')).not.toContain(newKey);
    expect(await customers.retrieve(anyId, calm)).toMatchObject({ kind: 'found' });
  });
});

test('a key that is none is refused before anything is sent, and not repeated', () => {
  const start = () => startGateway({ url: 'http://127.0.0.1:9', key: 'canary' });

  expect(start).toThrow(expect.objectContaining({ code: 'invalid_config', kind: 'fatal' }) as Error);
  expect(start).not.toThrow(/canary/);
});
