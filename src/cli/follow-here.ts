// Follows requests to their ends with progress on stderr; where this process does the work itself, until both have ended.
import { isFault } from '../errors.js';
import type { RequestId } from '../requests/document.js';
import { followToEnd, type RequestView } from './follow.js';
import type { Queue } from './open-queue.js';
import { createProgressDisplay } from './progress-display.js';
import { progressText } from './progress-text.js';
import { soundView } from './request-view.js';
import type { Terminal } from './terminal.js';
import { waitingNotice } from './waiting-notice.js';

export interface Following {
  readonly ids: readonly RequestId[];
  /** How many ids or customers the requests have in all; undefined where that is not known. */
  readonly entries: number | undefined;
  readonly signal: AbortSignal;
  /** Whether `--in-process` would do the work here. */
  readonly canRunHere: boolean;
  /** What to tell when it is given up while the requests go on. */
  readonly whenLeft?: string;
}

/** @throws as `followToEnd`, and what the work of this process ends with */
export async function followHere(
  terminal: Terminal,
  queue: Queue,
  { ids, entries, signal, canRunHere, whenLeft }: Following,
): Promise<readonly RequestView[]> {
  const display = createProgressDisplay(terminal);
  const notice = waitingNotice({ terminal, ...queue, canRunHere });
  const onLook = async (seen: readonly RequestView[]): Promise<void> => {
    await notice(seen);
    display.show(progressText(seen.map(soundView), entries));
  };
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const working = queue.work(ids, either).catch((error: unknown) => failed.abort(error));
  try {
    return await followToEnd(queue.requests, ids, { signal: either, onLook, patienceMs: queue.patienceMs });
  } catch (error) {
    display.end();
    failed.abort(error);
    await working;
    const isGone = isFault(error) && error.code === 'not_found';
    if (whenLeft !== undefined && !isGone) terminal.note(whenLeft);
    throw error;
  } finally {
    display.end();
    await working;
  }
}
