// The exit codes of every command, each with its meaning, and what an error's is.
import { isFault } from '../errors.js';
import { Interrupted } from './interruption.js';

export const exitCodes = {
  succeeded: 0,
  /** A fault, or a request that ended in any other way than succeeded. */
  failed: 1,
  /** What was typed or configured cannot be used. */
  usage: 2,
} as const;

/** Codes above 128 are those of shells: 128 and the number of the signal. */
export type ExitCode = number;

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof Interrupted) return error.exitCode;
  const isUsage = isFault(error) && (error.code === 'invalid_config' || error.code === 'invalid_request');
  return isUsage ? exitCodes.usage : exitCodes.failed;
}
