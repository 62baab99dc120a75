// A database belongs to one Stripe account and mode. This is checked at start and before any new key is used,
// as a scan with the wrong key would find every customer missing.
import { Fault, isFault } from '../base/errors.js';
import type { CallOptions, Mirror, Source } from './ports.js';

/** What the database is bound to. */
export interface Binding {
  /** Absent until a key or the setting provides it. */
  readonly accountId?: string | undefined;
  readonly livemode: boolean;
}

export interface BindingStore {
  /** What the database is bound to; undefined before its first use. */
  read(): Promise<Binding | undefined>;
  /**
   * Binds an unbound database, or adds the account to a binding of the same mode without one. Changes nothing
   * else. Atomic: of two concurrent calls one wins. Returns the binding afterwards.
   */
  bind(binding: Binding): Promise<Binding>;
}

export interface BindingCheck {
  /** Reads with the key in question. */
  readonly source: Pick<Source, 'livemode' | 'retrieve'>;
  /** The key's own account; most restricted keys may not read it. */
  readonly account: (
    options: CallOptions,
  ) => Promise<{ readonly kind: 'account'; readonly id: string } | { readonly kind: 'not_permitted' }>;
  readonly store: BindingStore;
  readonly mirror: Pick<Mirror, 'sampleIds'>;
  /** The setting `stripe.accountId`; empty if not given. */
  readonly expectedAccountId: string;
  readonly signal: AbortSignal;
}

/** How many mirrored ids are retrieved if the account cannot be determined otherwise. */
const sampleSize = 5;

const otherDatabase =
  'set STRIPE_API_KEY (and STRIPE_ACCOUNT_ID) to those of the mirrored account, or MONGODB_DATABASE to another database; nothing was written';

/**
 * Makes sure that the key belongs to the database's account and mode, and binds a new database. Writes
 * nothing if it refuses.
 * @throws a fatal Fault: `wrong_mode`, `account_mismatch`, `stripe_key_refused` or
 *   `stripe_permission_denied`; a retryable one if Stripe or MongoDB does not answer; the signal's reason on
 *   abort
 */
export async function checkBinding(check: BindingCheck): Promise<Binding> {
  const { source, store, expectedAccountId } = check;
  const bound = await store.read();
  requireMode(source.livemode, bound);
  const own = await fatalIfRefused(() => check.account(trial(check)));
  const ownId = own.kind === 'account' ? own.id : undefined;
  if (ownId !== undefined && expectedAccountId !== '' && ownId !== expectedAccountId) {
    throw new Fault(
      'account_mismatch',
      `STRIPE_API_KEY belongs to account ${ownId}, but STRIPE_ACCOUNT_ID is ${expectedAccountId}; set both to the same account`,
    );
  }
  const accountId = ownId ?? (expectedAccountId === '' ? undefined : expectedAccountId);
  requireAccount(accountId, bound);
  const isProven = ownId !== undefined && ownId === bound?.accountId;
  if (!isProven) await fatalIfRefused(() => requireMirroredIds(check));

  const now = await store.bind({ livemode: source.livemode, ...(accountId !== undefined && { accountId }) });
  // Another replica with another key may have bound it meanwhile.
  requireMode(source.livemode, now);
  requireAccount(accountId, now);
  return now;
}

/** The caller that starts or rotates a key reports its refusal. */
const trial = ({ signal }: BindingCheck): CallOptions => ({ priority: 'small', signal, isTrial: true });

function requireMode(livemode: boolean, bound: Binding | undefined): void {
  if (!bound || bound.livemode === livemode) return;
  const [got, expected] = livemode ? ['live', 'test'] : ['test', 'live'];
  throw new Fault(
    'wrong_mode',
    `STRIPE_API_KEY is a ${got}-mode key, but the database mirrors ${expected} mode; use a ${expected}-mode key, or another database (MONGODB_DATABASE) for ${got} mode; nothing was written`,
  );
}

function requireAccount(accountId: string | undefined, bound: Binding | undefined): void {
  if (accountId === undefined || bound?.accountId === undefined || bound.accountId === accountId) return;
  throw new Fault(
    'account_mismatch',
    `The key is for account ${accountId}, but the database mirrors ${bound.accountId}; ${otherDatabase}`,
  );
}

/** The key's account must know at least one of the newest mirrored ids. */
async function requireMirroredIds(check: BindingCheck): Promise<void> {
  const { mirror, source } = check;
  const ids = await mirror.sampleIds(sampleSize);
  let asked = 0;
  for (const id of ids) {
    const answer = await source.retrieve(id, trial(check));
    if (answer.kind === 'no_url') continue;
    if (answer.kind !== 'not_in_account') return;
    asked += 1;
  }
  if (asked === 0) return;
  throw new Fault(
    'account_mismatch',
    `STRIPE_API_KEY belongs to another account than the database mirrors: with this key, Stripe knows none of ${asked} customers of the mirror; ${otherDatabase}`,
  );
}

/** Waiting does not help if Stripe refuses the key: somebody has to configure another one. */
async function fatalIfRefused<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    const isRefused =
      isFault(error) && (error.code === 'stripe_key_refused' || error.code === 'stripe_permission_denied');
    if (!isRefused) throw error;
    const { requestId, statusCode, stripeCode, cause } = error;
    throw new Fault(error.code, error.message, { kind: 'fatal', requestId, statusCode, stripeCode, cause });
  }
}
