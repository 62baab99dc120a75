// Why the key is refused, as it is measured: of the key in use, and of a new one that is not taken.
import { expect, test } from 'vitest';
import { Fault } from '../../src/base/errors.js';
import { KeyGate, refusalsOf } from '../../src/stripe/key.js';

const list = 'GET /v1/customers';
const retrieve = 'GET /v1/customers/{id}';
const fault = (code: 'stripe_key_refused' | 'stripe_permission_denied'): Fault =>
  new Fault(code, 'Refused', { kind: 'retryable' });

test('a gate tells what it is closed for once, and nothing when a call has come through', () => {
  const gate = new KeyGate(() => 0);
  expect(gate.refusals).toEqual([]);

  gate.refused(list, fault('stripe_permission_denied'));
  gate.refused(retrieve, fault('stripe_permission_denied'));
  gate.refused(list, fault('stripe_key_refused'));
  expect([...gate.refusals].sort()).toEqual(['stripe_key_refused', 'stripe_permission_denied']);

  gate.succeeded(list);
  gate.succeeded(retrieve);
  expect(gate.refusals).toEqual([]);
});

test.each([
  [[], undefined, []],
  [['stripe_key_refused'], undefined, ['key_refused']],
  [['stripe_permission_denied'], undefined, ['permission_denied']],
  [[], 'account_mismatch', ['new_key_account_mismatch']],
  [[], 'account_unproven', ['new_key_account_mismatch']],
  [[], 'wrong_mode', ['new_key_wrong_mode']],
  [[], 'invalid_config', ['new_key_unusable']],
  [['stripe_key_refused'], 'stripe_key_refused', ['key_refused', 'new_key_unusable']],
] as const)('faults %j of the key in use and %s of a new one are %j', (inUse, ofNew, expected) => {
  expect(refusalsOf(inUse, ofNew)).toEqual(expected);
});
