// Why Stripe's key is refused, in the closed list that is measured.
import type { FaultCode } from '../errors.js';

/** The first two are of the key in use, the others of a new one that is therefore not used. */
export const keyRefusals = [
  'key_refused',
  'permission_denied',
  'new_key_account_mismatch',
  'new_key_wrong_mode',
  'new_key_unusable',
] as const;

export type KeyRefusal = (typeof keyRefusals)[number];

/** @param inUse what Stripe refuses the key in use for, @param ofNew why a new one that was found is not used */
export function refusalsOf(inUse: readonly FaultCode[], ofNew: FaultCode | undefined): readonly KeyRefusal[] {
  const ofKey = inUse.map((code) =>
    code === 'stripe_permission_denied' ? 'permission_denied' : 'key_refused',
  );
  switch (ofNew) {
    case undefined:
      return ofKey;
    case 'account_mismatch':
      return [...ofKey, 'new_key_account_mismatch'];
    case 'wrong_mode':
      return [...ofKey, 'new_key_wrong_mode'];
    default:
      return [...ofKey, 'new_key_unusable'];
  }
}
