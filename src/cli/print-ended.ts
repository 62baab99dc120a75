// How requests ended, on stdout, and the exit code that says it too.
import type { SyncRequestDocument } from '../requests/document.js';
import { exitCodes, type ExitCode } from './exit-code.js';
import type { RequestView } from './follow.js';
import type { Queue } from './open-queue.js';
import { soundView } from './request-view.js';
import { overallStatus, requestJson, summaryText } from './summary.js';
import type { Terminal } from './terminal.js';

/** Prints a summary, or with `json` each document. Returns the exit code. */
export async function printEnded(
  terminal: Terminal,
  { requests }: Pick<Queue, 'requests'>,
  ended: readonly RequestView[],
  { json }: { readonly json?: true },
): Promise<ExitCode> {
  if (json) {
    for (const view of ended) {
      // Read again whole, one at a time: following leaves out ids and batches. Where it has been removed meanwhile, what was seen.
      const whole: SyncRequestDocument | null = await requests.findOne({ _id: view._id });
      terminal.result(requestJson(whole ?? view));
    }
  } else {
    terminal.result(summaryText(ended.map(soundView)));
  }
  return endCode(ended);
}

/** 0 where all succeeded. */
export const endCode = (ended: readonly RequestView[]): ExitCode =>
  overallStatus(ended) === 'succeeded' ? exitCodes.succeeded : exitCodes.failed;
