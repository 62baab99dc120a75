// Names of writes to the mirror, and their results.
import { randomBytes } from 'node:crypto';
import { Fault } from '../base/errors.js';
import type { MirrorWriteResult } from './ports.js';

/** 48 random bits, so that no other process has the name. */
export const processName = randomBytes(6).toString('base64url');
let count = 0;

/** A name that no other write has: that of this process, and a count. 9 to 16 characters. */
export const newWriteId = (): string => processName + (count += 1).toString(36);

/** How many writes this process has named so far. */
export const writesSoFar = (): number => count;

/** Whether this process named the write when it had named so many at most: what it tells was known then. */
export function isOwnUntil(writeId: string | undefined, soFar: number): boolean {
  if (!writeId?.startsWith(processName)) return false;
  return Number.parseInt(writeId.slice(processName.length), 36) <= soFar;
}

/** The result of one of several writes. @throws Fault `internal` if the mirror gave fewer */
export function resultAt(results: readonly MirrorWriteResult[], index: number): MirrorWriteResult {
  const result = results[index];
  if (result) return result;
  throw new Fault('internal', 'The mirror returned fewer results than writes', { kind: 'retryable' });
}
