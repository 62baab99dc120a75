// What the worker asks of whoever does the commands' work. daemon.ts joins the two.
import type { Logger } from '../logger.js';
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
  /** Its lines name the request. */
  readonly logger: Logger;
  /**
   * Aborted with a `Fault`: `cancelled` and `shutdown` leave time for a last checkpoint; after `lease_lost` the request
   * is somebody else's.
   */
  readonly signal: AbortSignal;
  /**
   * To be asked right before anything is written to the mirror: throws the Fault `lease_lost` once somebody else may work on the request.
   * The signal alone does not do: a process that stood still gets MongoDB's and Stripe's answers before its own timers.
   */
  assertHeld(): void;
  onProgress(progress: Progress): void;
  /** The checkpoint of a scan, or of an approval, has moved on and is stored: its attempts start again. */
  onCheckpoint(): void;
}

export interface CommandRunner {
  /**
   * Does the work. Throws a `Fault`: retryable (try again later), terminal (the request fails), fatal (nothing will work in this
   * process); on abort the signal's reason. What was done until then may be attached with `withResult`.
   */
  run(command: SyncCommand, context: RunContext): Promise<SyncResult>;
}
