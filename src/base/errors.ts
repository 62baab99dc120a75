// Every fault of this service by its code, and what may be reported of any error. The adapter that meets an
// error classifies it, once.

/** What to do about a fault: retry later, end the request, or end the process. */
export type FaultKind = 'retryable' | 'terminal' | 'fatal';

/** Documentation of a code, and the default reaction to a fault with that code. */
interface FaultDescription {
  readonly kind: FaultKind;
  /** Where a user sees the code: in `error`, in an item of `result`, in `history`. Markdown. */
  readonly at: string;
  /** Markdown. */
  readonly meaning: string;
}

/** Keeps only the codes in the type of the table. */
function described<Code extends string>(table: Readonly<Record<Code, FaultDescription>>): typeof table {
  return table;
}

/**
 * Every code: docs/requests.md, the metrics and the types come from this table. Codes are part of the public
 * interface (`error.code` and `result.items[].code`), so none is ever changed or removed.
 */
export const faultCodes = described({
  // Requests
  invalid_request: {
    kind: 'terminal',
    at: 'error',
    meaning: 'the request does not parse; `faults` names everything',
  },
  duplicate_request: {
    kind: 'terminal',
    at: '`requests` of Node',
    meaning: 'a request with this `dedupeKey` waits, runs or is kept, or one with this `_id` is there',
  },
  timeout: {
    kind: 'retryable',
    at: '`requests` of Node',
    meaning: 'the request has not ended in the time its waiter gave it; it goes on',
  },
  unknown_command: { kind: 'terminal', at: 'error', meaning: 'no running version knows the command' },
  attempts_exhausted: {
    kind: 'terminal',
    at: 'error',
    meaning: 'every attempt met a transient fault; `cause` tells the last one',
  },
  lease_lost: {
    kind: 'retryable',
    at: 'history',
    meaning: 'the lease ran out during an attempt: another replica may work on the request',
  },
  cancelled: { kind: 'terminal', at: 'history', meaning: 'the request was cancelled during an attempt' },
  shutdown: { kind: 'retryable', at: 'history', meaning: 'the replica stopped during an attempt' },
  // Customers
  invalid_id: {
    kind: 'terminal',
    at: 'error, item',
    meaning:
      'an id is not 1 to 255 characters without NUL. As an item: `.`, `..` and `search` cannot be retrieved, because no URL can name them; scans and batches mirror them',
  },
  invalid_object: {
    kind: 'terminal',
    at: 'item',
    meaning: 'not a customer: no valid `id`, or `object`, `created` or `livemode` of the wrong type',
  },
  not_found: {
    kind: 'terminal',
    at: 'item',
    meaning:
      '`softDelete` of a customer that the mirror does not have; `approveRemovals` of a request that holds none',
  },
  not_in_account: {
    kind: 'terminal',
    at: 'item',
    meaning:
      'Stripe has no such customer in this account; nothing is marked for it. In a scan an `unchanged` item: it is in the mirror and left alone',
  },
  deleted_in_stripe: {
    kind: 'terminal',
    at: 'item',
    meaning: 'Stripe has confirmed the deletion, which is final',
  },
  older_than_read: {
    kind: 'terminal',
    at: 'item',
    meaning: 'the data is older than an answer of Stripe that the mirror has',
  },
  older_than_batch: {
    kind: 'terminal',
    at: 'item',
    meaning: 'the data is older than a batch that the mirror has',
  },
  older_than_scan: {
    kind: 'terminal',
    at: 'item',
    meaning: 'the data is older than the start of the last complete scan',
  },
  order_unknown: {
    kind: 'terminal',
    at: 'item',
    meaning:
      'it is not known whether the data is older than what the mirror has; `syncByIds` of the customer settles it',
  },
  deletion_unverified: {
    kind: 'terminal',
    at: 'item',
    meaning: 'an entry of a batch says `deleted: true`; use `softDelete`, or `syncByIds`, which asks Stripe',
  },
  wrong_mode: {
    kind: 'fatal',
    at: 'item, error',
    meaning: 'live data for a test-mode mirror, or the other way round',
  },
  document_too_large: {
    kind: 'terminal',
    at: 'item',
    meaning: 'larger than a MongoDB document may be (16 MB)',
  },
  unstorable_key: {
    kind: 'terminal',
    at: 'item',
    meaning: 'a key contains a NUL character, which BSON cannot store',
  },
  write_rejected: {
    kind: 'terminal',
    at: 'item',
    meaning: 'MongoDB refused this document, for instance by a unique index of yours',
  },
  unsettled: {
    kind: 'retryable',
    at: 'item',
    meaning: 'the customer changed so often that its reads could not be put in order; try again',
  },
  // Stripe
  stripe_key_refused: { kind: 'retryable', at: 'error', meaning: 'Stripe does not accept the key' },
  stripe_permission_denied: { kind: 'terminal', at: 'error', meaning: 'the key may not read customers' },
  stripe_rate_limited: {
    kind: 'retryable',
    at: 'error',
    meaning: 'Stripe limited the calls for longer than `stripe.callDeadlineMs`',
  },
  stripe_unavailable: {
    kind: 'retryable',
    at: 'error',
    meaning: 'Stripe did not answer, or failed, for longer than `stripe.callDeadlineMs`',
  },
  stripe_invalid_response: {
    kind: 'retryable',
    at: 'error',
    meaning: 'Stripe, or a proxy, sent answers that cannot be right for longer than `stripe.callDeadlineMs`',
  },
  stripe_rejected: { kind: 'terminal', at: 'error', meaning: 'Stripe refused a call for good' },
  account_mismatch: {
    kind: 'fatal',
    at: 'error',
    meaning: 'the key belongs to another account than the mirror',
  },
  account_unproven: {
    kind: 'fatal',
    at: 'error',
    meaning:
      'nothing proves that the key belongs to the mirrored account: it may not read its account, and no mirrored customer can be compared',
  },
  // MongoDB
  mongodb_unavailable: { kind: 'retryable', at: 'error', meaning: 'MongoDB did not answer' },
  mongodb_rejected: {
    kind: 'terminal',
    at: 'error',
    meaning:
      'MongoDB refused a command as a whole: a right is missing, the disk is full; the message names the reason',
  },
  foreign_collection: {
    kind: 'fatal',
    at: 'at start',
    meaning:
      'a collection under a name of ours holds documents of somebody else, or is of a kind that cannot be used; nothing was written',
  },
  // Scans
  scan_incomplete: {
    kind: 'retryable',
    at: 'error',
    meaning: 'a scan ended without having covered all time; it will be tried again',
  },
  read_allowance_used: {
    kind: 'retryable',
    at: 'error, history',
    meaning:
      "the month's reads (`stripe.monthlyReadAllowance`) are used up: scans wait for the next month, or for a higher allowance",
  },
  // Configuration
  invalid_config: { kind: 'fatal', at: 'error', meaning: 'a setting cannot be used' },
  internal: { kind: 'terminal', at: 'error', meaning: 'a defect: please report it' },
});

export type FaultCode = keyof typeof faultCodes;

export interface FaultOptions {
  /** Default: as in the table. */
  readonly kind?: FaultKind;
  readonly cause?: unknown;
  /** Retry no sooner than this many milliseconds from now; for `retryable` only. */
  readonly retryAfterMs?: number;
  /** Stripe's request id, HTTP status and error type, if any. */
  readonly requestId?: string | undefined;
  readonly statusCode?: number | undefined;
  readonly stripeCode?: string | undefined;
}

/**
 * An error with a code. A message names ids, settings and what is allowed. It holds no personal data and no
 * secrets.
 */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly kind: FaultKind;
  readonly retryAfterMs: number | undefined;
  readonly requestId: string | undefined;
  readonly statusCode: number | undefined;
  readonly stripeCode: string | undefined;

  constructor(
    readonly code: FaultCode,
    message: string,
    options: FaultOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = options.kind ?? faultCodes[code].kind;
    this.retryAfterMs = options.retryAfterMs;
    this.requestId = options.requestId;
    this.statusCode = options.statusCode;
    this.stripeCode = options.stripeCode;
  }
}

export const isFault = (error: unknown): error is Fault => error instanceof Fault;

/**
 * True for a transient fault. An unclassified error counts as transient because the number of attempts is
 * bounded.
 */
export const isRetryable = (error: unknown): boolean => !isFault(error) || error.kind === 'retryable';

/**
 * The part of an error that may be logged or stored. A library's message, header or document is never part of
 * it: each may hold keys or personal data.
 */
export interface ErrorReport {
  readonly code: FaultCode;
  readonly message: string;
  readonly requestId?: string;
  readonly statusCode?: number;
  readonly stripeCode?: string;
  /** Class of the underlying error, for developers. */
  readonly type?: string;
}

/** Reduces any thrown value to what may be reported. */
export function reportError(error: unknown): ErrorReport {
  if (!isFault(error)) {
    const type = error instanceof Error ? error.name : typeof error;
    return { code: 'internal', message: `Unexpected ${type}`, type };
  }
  return {
    code: error.code,
    message: error.message,
    ...(error.requestId !== undefined && { requestId: error.requestId }),
    ...(error.statusCode !== undefined && { statusCode: error.statusCode }),
    ...(error.stripeCode !== undefined && { stripeCode: error.stripeCode }),
    ...(error.cause instanceof Error && { type: error.cause.name }),
  };
}

/** Makes the compiler check that a switch over a union is exhaustive. */
export function assertNever(value: never): never {
  throw new Fault('internal', `Unexpected value ${JSON.stringify(value)}`);
}
