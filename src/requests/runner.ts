// What the worker asks of whoever does the commands' work. daemon.ts joins the two.
import type { Progress, SyncResult } from '../sync/outcome.js';
import type { SyncCommand } from './commands.js';
import type { RequestId } from './document.js';

export interface RunContext {
  readonly requestId: RequestId;
  /** 1, 2, … */
  readonly attempt: number;
  /** By MongoDB's clock. */
  readonly claimedAt: Date;
  /** When the request was inserted: what its ObjectId says (whole seconds), never after the claim. */
  readonly insertedAt: Date;
  readonly dryRun: boolean;
  /**
   * Aborted with a `Fault`: `cancelled` and `shutdown` leave time for a last checkpoint; after `lease_lost` the request
   * is somebody else's.
   */
  readonly signal: AbortSignal;
  onProgress(progress: Progress): void;
  /** A scan's checkpoint has moved on and is stored: its attempts start again. */
  onCheckpoint(): void;
}

export interface CommandRunner {
  /**
   * Does the work. Throws a `Fault`: retryable (try again later), terminal (the request fails), fatal (nothing will work in this
   * process); on abort the signal's reason. What was done until then may be attached with `withResult`.
   */
  run(command: SyncCommand, context: RunContext): Promise<SyncResult>;
}

/** Attaches what was done before a fault, so that the request can tell it. Returns the same error. */
export const withResult = <E extends Error>(
  error: E,
  result: SyncResult,
): E & { readonly result: SyncResult } => Object.assign(error, { result });

/** What was done before the fault, where the runner said so. */
export function partialResultOf(error: unknown): SyncResult | undefined {
  if (!(error instanceof Error) || !('result' in error)) return undefined;
  return error.result as SyncResult | undefined; // only withResult sets it
}
