// Stripe's error answers: https://docs.stripe.com/api/errors and https://docs.stripe.com/error-codes.
// Wordings were taken from recorded answers in public issue threads; where none was found, the comment says so.
import type { RateLimitReason } from './types.js';

/** The `error` object; `request_log_url` is added when the answer leaves. */
export interface StripeErrorBody {
  type: 'invalid_request_error' | 'api_error' | 'idempotency_error' | 'card_error';
  code?: string;
  message: string;
  param?: string;
  doc_url?: string;
}

/** An answer that is an error. */
export interface Refusal {
  status: number;
  error: StripeErrorBody;
  headers?: Record<string, string>;
}

const RATE_LIMITS_PAGE = 'https://stripe.com/docs/rate-limits';
const HELP = 'Please see https://stripe.com/docs or we can help at https://support.stripe.com/.';

export function invalidRequest(status: number, message: string, code?: string, param?: string): Refusal {
  const error: StripeErrorBody = { type: 'invalid_request_error', message };
  if (code !== undefined) {
    error.code = code;
    error.doc_url = `https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}`;
  }
  if (param !== undefined) error.param = param;
  return { status, error };
}

/**
 * `resource_missing`: 404 for an id in the path (param `id`), 400 for one in the query.
 * An id of the other mode gets Stripe's hint.
 */
export function noSuch(
  kind: 'customer' | 'event' | 'test clock',
  id: string,
  param: string,
  existsInMode?: 'live' | 'test',
) {
  const other = existsInMode === 'live' ? 'test' : 'live';
  const hint =
    existsInMode === undefined
      ? ''
      : `; a similar object exists in ${existsInMode} mode, but a ${other} mode key was used to make this request.`;
  const status = param === 'id' ? 404 : 400;
  return invalidRequest(status, `No such ${kind}: '${id}'${hint}`, 'resource_missing', param);
}

export function unknownParameters(names: readonly string[]): Refusal {
  const noun = names.length === 1 ? 'parameter' : 'parameters';
  return invalidRequest(400, `Received unknown ${noun}: ${names.join(', ')}`, 'parameter_unknown', names[0]);
}

export function emptyParameter(name: string): Refusal {
  const message =
    `You passed an empty string for '${name}'. We assume empty values are an attempt to unset a parameter; ` +
    `however '${name}' cannot be unset. You should remove '${name}' from your request or supply a non-empty value.`;
  return invalidRequest(400, message, 'parameter_invalid_empty', name);
}

export function invalidInteger(name: string, value: string): Refusal {
  return invalidRequest(400, `Invalid integer: ${value}`, 'parameter_invalid_integer', name);
}

export function limitOutOfRange(value: number): Refusal {
  const message =
    value < 1
      ? 'This value must be greater than or equal to 1.'
      : `This value must be less than or equal to 100 (it currently is '${value}').`;
  return invalidRequest(400, message, 'parameter_invalid_integer', 'limit');
}

/** Recorded without a code. */
export function bothCursors(): Refusal {
  return invalidRequest(
    400,
    'Received both starting_after and ending_before parameters. Please pass in only one.',
  );
}

export function unrecognizedUrl(method: string, path: string): Refusal {
  const hint = path.endsWith('/')
    ? 'If you are trying to list objects, remove the trailing slash. If you are trying to retrieve an object, make ' +
      'sure you passed a valid (non-empty) identifier in your code. '
    : '';
  return invalidRequest(404, `Unrecognized request URL (${method}: ${path}). ${hint}${HELP}`);
}

export function missingKey(): Refusal {
  const message =
    'You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth ' +
    "(e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or " +
    'we can help at https://support.stripe.com/.';
  return withHeaders(invalidRequest(401, message), { 'WWW-Authenticate': 'Basic realm="Stripe"' });
}

export function invalidKey(key: string): Refusal {
  return invalidRequest(401, `Invalid API Key provided: ${maskKey(key)}`);
}

export function expiredKey(key: string): Refusal {
  return invalidRequest(401, `Expired API Key provided: ${maskKey(key)}`, 'api_key_expired');
}

/** 403 of a restricted key: the permission that is missing is in the message, there is no code. */
export function missingPermission(key: string, accountId: string, permission: string): Refusal {
  const message =
    `The provided key '${maskKey(key)}' does not have the required permissions for this endpoint on account ` +
    `'${accountId}'. Having the '${permission}' permission would allow this request to continue.`;
  return invalidRequest(403, message);
}

/** Not Stripe's: with a secret key it would write. Nothing under test may. */
export function writeRefused(method: string, path: string): Refusal {
  return invalidRequest(403, `The simulator refuses all writes (${method}: ${path}).`);
}

/** The message for concurrency limits is not documented; the one for rates is recorded. */
export function rateLimited(reason: RateLimitReason, livemode: boolean, retryAfterSeconds?: number): Refusal {
  const isConcurrency = reason === 'global-concurrency' || reason === 'endpoint-concurrency';
  const message = isConcurrency
    ? `Request concurrency limit exceeded. Learn more about rate limits here ${RATE_LIMITS_PAGE}.`
    : livemode
      ? `Request rate limit exceeded. Learn more about rate limits here ${RATE_LIMITS_PAGE}.`
      : 'Testmode request rate limit exceeded, the rate limits in testmode are lower than livemode. You can learn ' +
        `more about rate limits here ${RATE_LIMITS_PAGE}.`;
  return withHeaders(invalidRequest(429, message, 'rate_limit'), {
    'Stripe-Rate-Limited-Reason': reason,
    ...(retryAfterSeconds === undefined ? {} : { 'Retry-After': String(retryAfterSeconds) }),
  });
}

/** https://docs.stripe.com/rate-limits#object-lock-timeouts: no reason header, and Stripe asks for a retry. */
export function lockTimeout(): Refusal {
  const message =
    'This object cannot be accessed right now because another API request or Stripe process is currently accessing ' +
    'it. If you see this error intermittently, retry the request. If you see this error frequently and are making ' +
    'multiple concurrent requests to a single object, make your requests serially or at a lower rate.';
  return withHeaders(invalidRequest(429, message, 'lock_timeout'), { 'Stripe-Should-Retry': 'true' });
}

export function invalidVersion(version: string): Refusal {
  return invalidRequest(400, `Invalid Stripe API version: ${version}`);
}

/** The error body Stripe's documentation gives for a status, for faults that name none. */
export function defaultError(status: number): StripeErrorBody {
  if (status === 429) return rateLimited('global-rate', false).error;
  if (status >= 500) return { type: 'api_error', message: 'An unknown error occurred' };
  if (status === 409) {
    const message =
      'The request conflicts with another request (perhaps due to using the same idempotent key).';
    return { type: 'idempotency_error', message };
  }
  return { type: 'invalid_request_error', message: `The request failed with status ${status}` };
}

/** Prefix and last four (restricted keys: six) characters, as Stripe masks keys in its messages. */
function maskKey(key: string): string {
  const shown = key.startsWith('rk_') ? 6 : 4;
  if (key.length <= 8 + shown) return key.slice(0, 8).padEnd(key.length, '*');
  return key.slice(0, 8) + '*'.repeat(key.length - 8 - shown) + key.slice(-shown);
}

function withHeaders(refusal: Refusal, headers: Record<string, string>): Refusal {
  return { ...refusal, headers };
}

/** Test clocks with a live key. The message is invented: none was found. */
export const testModeOnly = (): Refusal =>
  invalidRequest(400, 'Test clocks can only be used in test mode.', undefined, undefined);
