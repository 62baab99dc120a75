// Codes of MongoDB's errors that mean something here, each once. What an error is to be taken for is in mongo-faults.ts.
// Source: https://www.mongodb.com/docs/manual/reference/error-codes/

export const serverCodes = {
  unauthorized: 13,
  namespaceNotFound: 26,
  namespaceExists: 48,
  indexOptionsConflict: 85,
  indexKeySpecsConflict: 86,
  documentValidationFailure: 121,
  duplicateKey: 11_000,
  /** Change streams on a standalone server. */
  needsReplicaSet: 40_573,
} as const;

/**
 * Codes that pass although the driver gives them no label: time limits, lost and changing primaries, a write concern that was late.
 */
export const passingCodes: ReadonlySet<unknown> = new Set([
  6, 7, 50, 64, 89, 91, 100, 112, 133, 189, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
]);

/**
 * Codes of Node that the driver hands on as they are where a connection breaks while a command is written: neither an error of its own
 * classes nor, for it, a reason to try again. Source: https://nodejs.org/docs/latest-v20.x/api/errors.html
 */
export const brokenConnectionCodes: ReadonlySet<unknown> = new Set([
  'ECANCELED',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'ENOTCONN',
  'EPIPE',
  'ETIMEDOUT',
  'ERR_SOCKET_CLOSED',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_WRITE_AFTER_END',
]);

/** Codes of a write whose document would be above 16 MiB. */
export const tooLargeCodes: ReadonlySet<unknown> = new Set([10_334, 17_280, 17_419, 17_420]);

/** The code of an error, also of another version of the driver than ours, whose classes are others. */
export const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : undefined;

export const hasCode = (error: unknown, code: keyof typeof serverCodes): boolean =>
  codeOf(error) === serverCodes[code];

/** The fields of the unique index that an error of a duplicate key is about; none of any other error. */
export function duplicateFields(error: unknown): readonly string[] {
  if (!hasCode(error, 'duplicateKey') || !(error instanceof Error) || !('keyPattern' in error)) return [];
  const { keyPattern } = error;
  return typeof keyPattern === 'object' && keyPattern !== null ? Object.keys(keyPattern) : [];
}
