// A database belongs to one Stripe account and mode. This is checked at start and before any new key is used,
// as a scan with the wrong key would find every customer missing.
import { randomBytes } from 'node:crypto';
import { Fault, isFault } from '../base/errors.js';
import { pause, withDeadline } from '../base/waiting.js';
import { requireProof } from './binding-proof.js';
import type { CallOptions, Mirror, Sample, Source } from './ports.js';

/** What a database is bound to. */
export interface Binding {
  readonly livemode: boolean;
  /** Absent until a key or the setting provides it. */
  readonly accountId?: string | undefined;
  /** Random; part of each hash. */
  readonly salt: string;
  /** Hashes of the keys that were proven, the latest last. */
  readonly keys: readonly string[];
  /** The newest object that a proven key listed: it is of the account, whatever the mirror holds. */
  readonly witness?: Sample | undefined;
  /** Objects of the mirror that were observed up to then prove nothing: `bind --reset` left them there. */
  readonly provesAfter?: Date | undefined;
}

/** The stored binding: empty before the first use; of an earlier version without salt and keys. */
export interface StoredBinding extends Partial<Omit<Binding, 'keys'>> {
  readonly keys: readonly string[];
  readonly boundAt?: Date | undefined;
  /** When `bind --reset` took the binding away: the next key binds the database without proof. */
  readonly resetAt?: Date | undefined;
  /** How long ago that was, in milliseconds of MongoDB's clock. */
  readonly resetAgoMs?: number | undefined;
}

export interface BindingStore {
  read(): Promise<StoredBinding>;
  /**
   * Stores `next` if what is stored is still `seen`, atomically. False if another process has changed it.
   * `isNew`: the time of the binding starts again.
   */
  replace(seen: StoredBinding, next: Binding, isNew: boolean): Promise<boolean>;
}

/** `unknown`: the key may not read its account, or the server does not know the endpoint. */
export type KeyAccount = { readonly kind: 'account'; readonly id: string } | { readonly kind: 'unknown' };

export interface BindingCheck {
  /** Reads with the key in question. */
  readonly source: Pick<Source, 'livemode' | 'list' | 'retrieve'>;
  /** The key's own account; most restricted keys may not read it. */
  readonly account: (options: CallOptions) => Promise<KeyAccount>;
  /** A salted hash by which the key is known again; nothing else of a key is stored. */
  readonly keyHash: (salt: string) => string;
  readonly store: BindingStore;
  readonly mirror: Pick<Mirror, 'samples'>;
  /** The setting `stripe.accountId`; empty if not given. */
  readonly expectedAccountId: string;
  readonly signal: AbortSignal;
}

/** Old and new keys of several deployments, during a rotation. */
const maxKeys = 10;

/** Each try is lost to another process that has stored its own. */
const maxTries = 20;

/** How long a key that is known already may take to tell its account. */
const accountWithinMs = 5_000;

/**
 * Makes sure that the key belongs to the database's account and mode and may list, and binds a new database.
 * Writes nothing if it refuses.
 * @throws a fatal Fault: `wrong_mode`, `account_mismatch`, `account_unproven`, `stripe_key_refused` or
 *   `stripe_permission_denied`; a retryable one if Stripe or MongoDB does not answer; the signal's reason on
 *   abort
 */
export async function checkBinding(check: BindingCheck): Promise<Binding> {
  const { store, signal } = check;
  await untilResetIsSeen(await store.read(), signal);
  for (let tries = 0; tries < maxTries; tries += 1) {
    const seen = await store.read();
    const { next, isNew } = await fatalIfRefused(() => judge(check, seen));
    if (isStored(seen, next) || (await store.replace(seen, next, isNew))) return next;
    // Another process has bound the database meanwhile, perhaps with another account's key.
    signal.throwIfAborted();
  }
  throw new Fault(
    'mongodb_rejected',
    'The account binding of the database cannot be replaced: it changes all the time, or somebody has edited it; "stripe-mongo-sync bind --reset" makes it anew',
    { kind: 'fatal' },
  );
}

/**
 * How long one look at the binding is believed, in milliseconds. With the age up to which an answer is
 * written, it is less than the time for which a process without heartbeats counts as alive.
 */
const confirmedForMs = 5_000;
/** After a reset the next key waits until every process has looked, so that former ones write before it. */
const seenWithinMs = confirmedForMs + 1_000;
/** A look that took longer than it is believed, as where the process stood still, is repeated. */
const maxLooks = 5;

/**
 * Confirms that the database is still bound to the account of the key in use. `bind --reset` cannot see a
 * process that stands still, or one that uses the library: when it goes on, the database may be another
 * account's. So each answer is confirmed before it is used, and each write before it is sent. One look at
 * the state serves all of five seconds.
 */
export class BindingGuard {
  readonly #check: BindingCheck;
  #confirmedAt = -Infinity;
  #looking: Promise<void> | undefined;

  /** @param check of the key in use */
  constructor(check: BindingCheck) {
    this.#check = check;
  }

  /**
   * @throws as checkBinding, where another process has bound the database or the binding is gone; a fatal
   *   Fault `account_unproven` after a reset; `mongodb_unavailable`
   */
  async confirm(): Promise<void> {
    for (let looks = 0; performance.now() - this.#confirmedAt >= confirmedForMs; looks += 1) {
      if (looks === maxLooks) {
        throw new Fault('mongodb_unavailable', 'MongoDB takes too long to tell the account of the database');
      }
      this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
      await this.#looking;
    }
  }

  async #look(): Promise<void> {
    const { store, keyHash } = this.#check;
    const lookedAt = performance.now();
    const { salt, keys, resetAt } = await store.read();
    if (resetAt !== undefined) {
      throw new Fault(
        'account_unproven',
        'The binding of the database was reset while this process ran; start it again to bind the database to its key',
      );
    }
    if (salt === undefined || !keys.includes(keyHash(salt))) await checkBinding(this.#check);
    this.#confirmedAt = lookedAt;
  }
}

async function untilResetIsSeen(
  { resetAt, resetAgoMs = 0 }: StoredBinding,
  signal: AbortSignal,
): Promise<void> {
  if (resetAt === undefined) return;
  await pause(Math.min(seenWithinMs, seenWithinMs - resetAgoMs), signal);
  signal.throwIfAborted();
}

/** Of many replicas that start at once with a new key, the first one stores it for all. */
function isStored(seen: StoredBinding, next: Binding): boolean {
  const fields = ({ livemode, accountId, salt, keys, witness, provesAfter }: Partial<Binding>): unknown[] => [
    livemode,
    accountId,
    salt,
    keys,
    witness?.id,
    witness?.created,
    provesAfter?.getTime(),
  ];
  return seen.resetAt === undefined && JSON.stringify(fields(seen)) === JSON.stringify(fields(next));
}

async function judge(
  check: BindingCheck,
  seen: StoredBinding,
): Promise<{ readonly next: Binding; readonly isNew: boolean }> {
  const { source, keyHash, expectedAccountId } = check;
  const { livemode } = source;
  const { salt = randomBytes(16).toString('base64') } = seen;
  const hash = keyHash(salt);
  const isKnown = seen.keys.includes(hash);
  requireMode(livemode, seen);
  const ownId = isKnown ? await accountOfKnown(check, seen) : idOf(await check.account(trial(check)));
  requireSetting(ownId, expectedAccountId);
  const accountId = ownId ?? (expectedAccountId === '' ? undefined : expectedAccountId);
  requireAccount(ownId, expectedAccountId, seen);

  const isProven = isKnown || (ownId !== undefined && ownId === seen.accountId);
  const proof = isProven ? 'known' : await proofOf(check, seen);
  const witness = await newestListed(check);
  const isNew = proof === 'unclaimed';
  const earlier = isNew ? [] : seen.keys.filter((each) => each !== hash);
  return {
    isNew,
    next: {
      livemode,
      salt,
      accountId: accountId ?? (isNew ? undefined : seen.accountId),
      keys: [...earlier, hash].slice(-maxKeys),
      witness,
      provesAfter: seen.resetAt ?? seen.provesAfter,
    },
  };
}

/** The caller that starts or rotates a key reports its refusal. */
const trial = ({ signal }: BindingCheck): CallOptions => ({ priority: 'small', signal, isTrial: true });

const idOf = (account: KeyAccount): string | undefined =>
  account.kind === 'account' ? account.id : undefined;

/** A known key needs no proof: its account is only asked for to complete the binding. */
async function accountOfKnown(
  check: BindingCheck,
  { accountId }: StoredBinding,
): Promise<string | undefined> {
  if (accountId !== undefined) return undefined;
  const ask = (late: AbortSignal): Promise<KeyAccount> => {
    const signal = AbortSignal.any([check.signal, late]);
    return check.account({ ...trial(check), signal });
  };
  try {
    const answer = await withDeadline(accountWithinMs, ask, () => ({ kind: 'unknown' }) as const);
    return idOf(answer);
  } catch {
    // A refusal of the key is met again by the list call.
    check.signal.throwIfAborted();
    return undefined;
  }
}

async function proofOf(check: BindingCheck, seen: StoredBinding): Promise<'same_objects' | 'unclaimed'> {
  if (seen.resetAt) return 'unclaimed';
  const { source, mirror } = check;
  return requireProof({
    source,
    mirror,
    witness: seen.witness,
    provesAfter: seen.provesAfter,
    call: trial(check),
    remedies: remediesFor(seen),
  });
}

/** Shows that the key may list. The newest object becomes the witness. */
async function newestListed(check: BindingCheck): Promise<Sample | undefined> {
  const answer = await check.source.list({ limit: 1 }, trial(check));
  const newest = answer.kind === 'page' ? answer.objects[0] : undefined;
  const created = newest?.['created'];
  return newest && typeof created === 'number' ? { id: newest.id, created } : undefined;
}

function requireMode(livemode: boolean, { livemode: bound }: StoredBinding): void {
  if (bound === undefined || bound === livemode) return;
  const [got, expected] = livemode ? ['live', 'test'] : ['test', 'live'];
  throw new Fault(
    'wrong_mode',
    `STRIPE_API_KEY is a ${got}-mode key, but the database mirrors ${expected} mode; use a ${expected}-mode key, or another database (MONGODB_DATABASE) for ${got} mode; nothing was written`,
  );
}

function requireSetting(ownId: string | undefined, expected: string): void {
  if (ownId === undefined || expected === '' || ownId === expected) return;
  throw new Fault(
    'account_mismatch',
    `STRIPE_API_KEY belongs to account ${ownId}, but STRIPE_ACCOUNT_ID is ${expected}; set both to the same account`,
  );
}

function requireAccount(ownId: string | undefined, expected: string, seen: StoredBinding): void {
  const { accountId: bound } = seen;
  if (bound === undefined) return;
  if (ownId === undefined && expected !== '' && expected !== bound) {
    throw new Fault(
      'account_mismatch',
      `STRIPE_ACCOUNT_ID is ${expected}, but the database mirrors ${bound}; ${remediesFor(undefined)}`,
    );
  }
  if (ownId !== undefined && ownId !== bound) {
    throw new Fault(
      'account_mismatch',
      `The key is for account ${ownId}, but the database mirrors ${bound}; ${remediesFor(undefined)}`,
    );
  }
}

/** @param seen undefined where the key's account is known */
function remediesFor(seen: StoredBinding | undefined): string {
  const permission =
    seen?.accountId === undefined
      ? ''
      : ', give the key the permission to read its account (rak_accounts_kyc_basic_read)';
  return `set STRIPE_API_KEY (and STRIPE_ACCOUNT_ID) to those of the mirrored account${permission}, set MONGODB_DATABASE to another database, or run "stripe-mongo-sync bind --reset" to bind this one anew; nothing was written`;
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
