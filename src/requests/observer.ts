// What happens to requests, as events for metrics. Labels come from closed lists: a user cannot make a new
// one.
import type { ErrorReport } from '../base/errors.js';
import type { SyncResult } from '../sync/outcome.js';
import { type CommandName, commandNames, type LaneName } from './commands.js';
import type { EndStatus } from './request.js';

/** A command, or `unknown` for whatever else a user wrote there. */
export type CommandLabel = CommandName | 'unknown';

export const commandLabels: readonly CommandLabel[] = [...commandNames, 'unknown'];

export const commandLabel = (command: unknown): CommandLabel =>
  commandNames.find((name) => name === command) ?? 'unknown';

export interface RequestsObserver {
  /**
   * A request was claimed this long after it could have been first: its insertion, `runAt`, or the end of its
   * last attempt or life.
   */
  requestClaimed(event: {
    readonly command: CommandLabel;
    readonly lane: LaneName;
    readonly waitSeconds: number;
  }): void;
  /**
   * A request has ended; `code` is its error's, where it failed. `seconds` is the last attempt's duration;
   * undefined where none ran. `object` is the kind that `result` counts. `count` is 1 but for coalesced ones.
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

/** For those who measure nothing. */
export const silentRequestsObserver: RequestsObserver = {
  requestClaimed: () => undefined,
  requestEnded: () => undefined,
  scanProgressed: () => undefined,
};
