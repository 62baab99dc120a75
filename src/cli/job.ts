// What a command wants done, and how it wants to be told.
import type { CommandInput } from '../requests/document.js';

export interface Job {
  readonly inputs: readonly CommandInput[];
  /** How many ids or customers in all; undefined for a scan. */
  readonly entries: number | undefined;
}

export interface RequestCommandOptions {
  readonly json?: true;
  readonly inProcess?: true;
  readonly dryRun?: true;
  /** False with `--no-wait`. */
  readonly wait: boolean;
  readonly timeout?: number;
}
