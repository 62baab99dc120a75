// Works on one request until it has ended, for commands that run without a daemon.
import { Fault } from '../../base/errors.js';
import { pause } from '../../base/waiting.js';
import { isPassing, toMongoFault } from '../../mongo/faults.js';
import type { OurDatabase } from '../../mongo/sync-state.js';
import type { AttemptEnd } from '../attempt.js';
import { laneOf } from '../commands.js';
import { commandLabel } from '../observer.js';
import {
  isEndStatus,
  type RequestId,
  requestsOf,
  type SyncRequestDocument,
  typedRequestsOf,
} from '../request.js';
import type { RequestsSettings } from '../steps.js';
import type { EqualScans } from '../upkeep/equal-scans.js';
import type { Sweeper } from '../upkeep/sweep.js';
import type { Runs } from './runs.js';

export interface RunOnceOptions {
  readonly id: RequestId;
  readonly database: OurDatabase;
  readonly settings: RequestsSettings;
  readonly runs: Runs;
  readonly sweeper: Sweeper;
  readonly equalScans: EqualScans;
  readonly signal: AbortSignal;
}

/** Maximum pause between two reads while the request waits for its time or for another process. */
const longestPauseMs = 1_000;
/** How long MongoDB may stay unavailable. */
const patienceMs = 60_000;

/** See `RequestWorker.runOnce`. */
export async function runOnce(options: RunOnceOptions): Promise<SyncRequestDocument> {
  const { id, runs, settings, signal } = options;
  const onAbort = (): void => runs.release(id);
  signal.addEventListener('abort', onAbort);
  const over = new AbortController();
  const watching = watchForCancel(options, over.signal);
  try {
    let answeredMs = performance.now();
    for (;;) {
      signal.throwIfAborted();
      const turn = await takeTurn(options).catch((error: unknown) => {
        if (!isPassing(error) || performance.now() - answeredMs > patienceMs) throw error;
        return undefined;
      });
      if (turn) answeredMs = performance.now();
      if (turn?.request) return turn.request;
      if (turn?.end?.kind === 'waits' && turn.end.fatal) throw turn.end.fatal;
      if (turn?.end?.kind === 'ended') continue;
      await pause(Math.min(settings.pollIntervalMs, longestPauseMs), signal);
      signal.throwIfAborted();
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw toMongoFault(error, 'working on a request');
  } finally {
    signal.removeEventListener('abort', onAbort);
    over.abort();
    await watching;
  }
}

/** No change stream reports a cancellation here, and the next renewal may be far away. */
async function watchForCancel({ id, database, runs }: RunOnceOptions, over: AbortSignal): Promise<void> {
  const cancelled = { _id: { $eq: id }, status: 'running', cancel: true };
  while (await pause(longestPauseMs, over)) {
    const count = await requestsOf(database)
      .countDocuments(cancelled)
      .catch(() => 0); // the renewal tells it
    if (count > 0) runs.cancel(id);
  }
}

interface Turn {
  /** Where it has ended. */
  readonly request?: SyncRequestDocument;
  /** Of the attempt, where it could be claimed. */
  readonly end?: AttemptEnd | undefined;
}

async function takeTurn({ id, database, runs, sweeper, equalScans, signal }: RunOnceOptions): Promise<Turn> {
  const only = { _id: { $eq: id } };
  const found = await typedRequestsOf(database).findOne(only, { projection: { batch: 0, ids: 0 } });
  if (!found) throw new Fault('not_found', `There is no request ${String(id)}`);
  if (isEndStatus(found.status)) return { request: found };
  if (found.waitsFor != null) {
    // There may be no daemon that handles the other one.
    await sweeper.recover(signal, { _id: { $eq: found.waitsFor } });
    await equalScans.leave(id, found.waitsFor);
  }
  await sweeper.recover(signal, only);
  await sweeper.endCancelled(signal, only);
  await sweeper.failUnusable(signal, only);
  const command = commandLabel(found.command);
  if (command === 'unknown') return {};
  const run = await runs.claim(laneOf[command], { id, wokenAt: undefined }, signal);
  if (typeof run !== 'string') return { end: await run() };
  // Nobody else may be there to end it: the next turn would be refused, too.
  const refusal = runs.refusalOf(id) ?? sweeper.refusalOf(id);
  if (refusal !== undefined) throw toMongoFault(refusal, 'updating the request');
  return {};
}
