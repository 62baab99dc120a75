// The API key in use. A key file is reread periodically, so that key rotation needs no restart. A new key is
// used only after the given check has confirmed the same account and mode.
import { createHmac } from 'node:crypto';
import { Fault, type FaultCode, isFault, reportError } from '../base/errors.js';
import type { Logger } from '../base/logger.js';
import { pause } from '../base/waiting.js';

/** A key that neither inspecting nor serializing shows. */
export class ApiKey {
  readonly #value: string;
  readonly livemode: boolean;
  readonly gate = new KeyGate();

  /** @throws Fault `invalid_config` (fatal) where it is no key */
  constructor(value: string) {
    const mode = /^(?:sk|rk)_(test|live)_/.exec(value)?.[1];
    if (mode === undefined) {
      const allowed = 'sk_test_, sk_live_, rk_test_ or rk_live_';
      throw new Fault('invalid_config', `STRIPE_API_KEY must be a key that starts with ${allowed}`);
    }
    this.#value = value;
    this.livemode = mode === 'live';
  }

  get value(): string {
    return this.#value;
  }

  /** By which a database knows the key again; the key cannot be found from it. */
  hash(salt: string): string {
    return createHmac('sha256', salt).update(this.#value).digest('base64');
  }
}

export interface KeyRingOptions {
  readonly initial: ApiKey;
  /** Reads the key's file; throws while the file holds no usable key. Absent: the key never changes. */
  readonly read?: (() => string | Promise<string>) | undefined;
  /** Checks a new key; rejects to refuse it. */
  readonly verify: (candidate: ApiKey, signal: AbortSignal) => Promise<void>;
  readonly logger: Logger;
  /** How often the file is read, milliseconds; 30,000 by default. */
  readonly everyMs?: number | undefined;
}

/**
 * If Stripe refuses the key in use, the file is reread sooner, but no sooner than this after the last time.
 */
const minMsBetweenReads = 20_000;

/** A refused new key is not tried again for this long, unless it changes. */
const refusedForMs = 300_000;

export class KeyRing {
  readonly #options: KeyRingOptions;
  readonly #closing = new AbortController();
  readonly #watching: Promise<void>;
  #current: ApiKey;
  #readNow = new AbortController();
  #isReadable = true;
  #refused: { readonly value: string; readonly until: number } | undefined;
  #refusalOfNew: Fault['code'] | undefined;

  constructor(options: KeyRingOptions) {
    this.#options = options;
    this.#current = options.initial;
    this.#watching = options.read ? this.#watch(options.read) : Promise.resolve();
  }

  get current(): ApiKey {
    return this.#current;
  }

  /** Why the last found key is not used; undefined if it is used or not decided on yet. */
  get refusalOfNew(): Fault['code'] | undefined {
    return this.#refusalOfNew;
  }

  /** Stripe refused the key in use: the file may hold a new one already. */
  readSoon(): void {
    this.#readNow.abort();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#readNow.abort();
    await this.#watching;
  }

  async #watch(read: () => string | Promise<string>): Promise<void> {
    const { everyMs = 30_000 } = this.#options;
    const { signal } = this.#closing;
    let nextReadAt = performance.now();
    for (;;) {
      await pause(everyMs, this.#readNow.signal);
      await pause(Math.min(everyMs, nextReadAt - performance.now()), signal);
      if (signal.aborted) return;
      this.#readNow = new AbortController();
      nextReadAt = performance.now() + Math.min(minMsBetweenReads, everyMs);
      await this.#readAgain(read, signal);
    }
  }

  async #readAgain(read: () => string | Promise<string>, signal: AbortSignal): Promise<void> {
    const { logger } = this.#options;
    try {
      const value = await read();
      this.#isReadable = true;
      if (value === this.#current.value) this.#refusalOfNew = undefined;
      else await this.#consider(value, signal);
    } catch (error) {
      if (this.#isReadable)
        logger.warn({ error: reportError(error) }, 'The file of the Stripe key cannot be read');
      this.#isReadable = false;
    }
  }

  async #consider(value: string, signal: AbortSignal): Promise<void> {
    const { logger, verify } = this.#options;
    const refused = this.#refused?.value === value ? this.#refused : undefined;
    if (refused && performance.now() < refused.until) return;
    try {
      const candidate = new ApiKey(value);
      requireSameMode(candidate, this.#current);
      await verify(candidate, signal);
      this.#current = candidate;
      this.#refused = undefined;
      this.#refusalOfNew = undefined;
      logger.info({ livemode: candidate.livemode }, 'The new Stripe key is in use');
    } catch (error) {
      if (signal.aborted) return;
      const isUndecided = isFault(error) && error.kind === 'retryable' && error.code !== 'stripe_key_refused';
      this.#refused = { value, until: performance.now() + (isUndecided ? 0 : refusedForMs) };
      if (!isUndecided) this.#refusalOfNew = isFault(error) ? error.code : 'internal';
      if (!refused) {
        logger.error(
          { error: reportError(error) },
          'The new Stripe key is unusable; the old one stays in use',
        );
      }
    }
  }
}

function requireSameMode(candidate: ApiKey, current: ApiKey): void {
  if (candidate.livemode === current.livemode) return;
  const [got, expected] = candidate.livemode ? ['live', 'test'] : ['test', 'live'];
  throw new Fault(
    'wrong_mode',
    `The new STRIPE_API_KEY is a ${got}-mode key, but the mirror holds ${expected}-mode data`,
  );
}

/** Three calls a minute. */
const msBetweenTrials = 20_000;

const everything = '*';

/**
 * Holds back calls that Stripe would only refuse again: after a 401 all calls, after a 403 those to the same
 * endpoint. One call in 20 seconds tests whether Stripe accepts the key again.
 */
export class KeyGate {
  readonly #closed = new Map<string, { fault: Fault; nextTrialAt: number }>();
  readonly #now: () => number;

  /** @param now milliseconds of a monotonic clock */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** The current reasons why Stripe refuses the key, each once. */
  get refusals(): readonly Fault['code'][] {
    return [...new Set([...this.#closed.values()].map(({ fault }) => fault.code))];
  }

  /** The fault to fail with at once instead of calling; undefined where a call may be made. */
  heldBack(endpoint: string): Fault | undefined {
    for (const scope of [everything, endpoint]) {
      const closed = this.#closed.get(scope);
      const waitMs = (closed?.nextTrialAt ?? 0) - this.#now();
      if (closed && waitMs > 0) return heldBackFault(closed.fault, waitMs);
    }
    return undefined;
  }

  /** As `heldBack`, but a call that is let through counts as the trial and must be made. */
  enter(endpoint: string): Fault | undefined {
    const fault = this.heldBack(endpoint);
    if (fault) return fault;
    for (const scope of [everything, endpoint]) {
      const closed = this.#closed.get(scope);
      if (closed) closed.nextTrialAt = this.#now() + msBetweenTrials;
    }
    return undefined;
  }

  /** Records that Stripe refused the key. True if that is new. */
  refused(endpoint: string, fault: Fault): boolean {
    const scope = fault.code === 'stripe_key_refused' ? everything : endpoint;
    const isNews = !this.#closed.has(scope);
    this.#closed.set(scope, { fault, nextTrialAt: this.#now() + msBetweenTrials });
    return isNews;
  }

  succeeded(endpoint: string): void {
    this.#closed.delete(everything);
    this.#closed.delete(endpoint);
  }
}

const heldBackFault = (fault: Fault, waitMs: number): Fault =>
  new Fault(fault.code, fault.message, {
    kind: fault.kind,
    requestId: fault.requestId,
    statusCode: fault.statusCode,
    ...(fault.kind === 'retryable' && { retryAfterMs: Math.ceil(waitMs) }),
  });

/**
 * Why a key is refused: the closed list of the metric. The first two are of the key in use, the others of a
 * new key.
 */
export const keyRefusals = [
  'key_refused',
  'permission_denied',
  'new_key_account_mismatch',
  'new_key_wrong_mode',
  'new_key_unusable',
] as const;

export type KeyRefusal = (typeof keyRefusals)[number];

/** @param inUse what Stripe refuses the key in use for, @param ofNew why a new key is not used */
export function refusalsOf(inUse: readonly FaultCode[], ofNew: FaultCode | undefined): readonly KeyRefusal[] {
  const ofKey = inUse.map((code) =>
    code === 'stripe_permission_denied' ? 'permission_denied' : 'key_refused',
  );
  switch (ofNew) {
    case undefined:
      return ofKey;
    case 'account_mismatch':
    case 'account_unproven':
      return [...ofKey, 'new_key_account_mismatch'];
    case 'wrong_mode':
      return [...ofKey, 'new_key_wrong_mode'];
    default:
      return [...ofKey, 'new_key_unusable'];
  }
}
