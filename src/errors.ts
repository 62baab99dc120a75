// The faults this service knows by name, and what of any error may be told. Classification happens once, in the adapter that meets the fault.

/** What to do about a fault: try again later, end the request, or end the process. */
export type FaultKind = 'retryable' | 'terminal' | 'fatal';

/**
 * Names of faults; part of the public interface (`error.code` and `result.items[].code`), so they are only added to.
 * Each is explained in docs/requests.md.
 */
export type FaultCode =
  // Requests
  | 'invalid_request'
  | 'duplicate_request'
  | 'timeout'
  | 'unknown_command'
  | 'attempts_exhausted'
  | 'lease_lost'
  | 'cancelled'
  | 'shutdown'
  // Customers
  | 'invalid_id'
  | 'invalid_object'
  | 'not_found'
  | 'not_in_account'
  | 'deleted_in_stripe'
  | 'deletion_unverified'
  | 'wrong_mode'
  | 'document_too_large'
  | 'write_rejected'
  | 'unsettled'
  // Stripe
  | 'stripe_key_refused'
  | 'stripe_permission_denied'
  | 'stripe_rate_limited'
  | 'stripe_unavailable'
  | 'stripe_invalid_response'
  | 'stripe_rejected'
  | 'account_mismatch'
  // MongoDB
  | 'mongodb_unavailable'
  | 'mongodb_rejected'
  // Scans
  | 'scan_incomplete'
  | 'read_allowance_used'
  // Configuration
  | 'invalid_config'
  | 'internal';

export interface FaultOptions {
  readonly kind: FaultKind;
  readonly cause?: unknown;
  /** Not before this many milliseconds from now; for `retryable` only. */
  readonly retryAfterMs?: number;
  /** Stripe's request id, HTTP status and error type, where there are any. */
  readonly requestId?: string | undefined;
  readonly statusCode?: number | undefined;
  readonly stripeCode?: string | undefined;
}

/** A fault with a name. Messages hold no personal data and no secrets: they name ids, settings and what would be right. */
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
    options: FaultOptions,
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = options.kind;
    this.retryAfterMs = options.retryAfterMs;
    this.requestId = options.requestId;
    this.statusCode = options.statusCode;
    this.stripeCode = options.stripeCode;
  }
}

export const isFault = (error: unknown): error is Fault => error instanceof Fault;

/** True for a fault that may pass by itself. An error nobody classified is taken as passing: attempts are bounded. */
export const isRetryable = (error: unknown): boolean => !isFault(error) || error.kind === 'retryable';

/** What may be logged or stored of an error: never a message, header or document of a library (hazard: they carry keys and persons' data). */
export interface ErrorReport {
  readonly code: FaultCode;
  readonly message: string;
  readonly requestId?: string;
  readonly statusCode?: number;
  readonly stripeCode?: string;
  /** Class of the underlying error, for those who read the code. */
  readonly type?: string;
}

/** Reduces any thrown value to what may be told. */
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

/** Makes the compiler check that a switch over a union is complete. */
export function assertNever(value: never): never {
  throw new Fault('internal', `Unexpected value ${JSON.stringify(value)}`, { kind: 'terminal' });
}
