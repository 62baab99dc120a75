// What happens to requests, as events for metrics. Labels come from closed lists: a user cannot make a new
// one.
import type { ErrorReport } from '../base/errors.js';
import type { WritesObserver } from '../mongo/refused-writes.js';
import type { SyncResult } from '../sync/outcome.js';
import { type CommandName, commandNames, type LaneName } from './commands.js';
import type { EndStatus } from './request.js';

/** A command, or `unknown` for any other value that a user wrote. */
export type CommandLabel = CommandName | 'unknown';

export const commandLabels: readonly CommandLabel[] = [...commandNames, 'unknown'];

export const commandLabel = (command: unknown): CommandLabel =>
  commandNames.find((name) => name === command) ?? 'unknown';

export interface RequestsObserver extends WritesObserver {
  /**
   * A request was claimed this long after it first could have been: its insertion, `runAt`, the end of its
   * last attempt, or its last requeue.
   */
  requestClaimed(event: {
    readonly command: CommandLabel;
    readonly lane: LaneName;
    readonly waitSeconds: number;
  }): void;
  /**
   * A request has ended; `code` is its error code if it failed. `seconds` is the duration of the last
   * attempt; undefined if none ran. `object` is the kind that `result` counts, undefined
   * for a dry run, which brings nothing. `count` is 1, except for
   * coalesced requests.
   */
  requestEnded(event: {
    readonly command: CommandLabel;
    readonly status: EndStatus;
    readonly code?: ErrorReport['code'] | undefined;
    readonly seconds: number | undefined;
    readonly result: SyncResult | undefined;
    readonly object?: string | undefined;
    readonly count: number;
  }): void;
  /** The progress of the scan that runs in this process; undefined when none does, or its size is unknown. */
  scanProgressed(ratio: number | undefined): void;
}

/** An observer that ignores every event. */
export const silentRequestsObserver: RequestsObserver = {
  requestClaimed: () => undefined,
  requestEnded: () => undefined,
  scanProgressed: () => undefined,
  writesRefused: () => undefined,
  writesAccepted: () => undefined,
};
