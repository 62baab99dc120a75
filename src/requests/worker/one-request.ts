// Works on one request until it has ended, for commands that run without a daemon.
import type { Connection } from 'mongoose';
import { Fault } from '../../base/errors.js';
import { pause } from '../../base/waiting.js';
import { isPassing, toMongoFault } from '../../mongo/faults.js';
import type { RunEnd } from '../attempt.js';
import {
  isEndStatus,
  type RequestId,
  requestsOf,
  type SyncRequestDocument,
  typedRequestsOf,
} from '../request.js';
import type { RequestsSettings } from '../steps.js';
import type { Coalescing } from '../upkeep/equal-scans.js';
import type { Housekeeping } from '../upkeep/sweep.js';
import type { Workbench } from './runs.js';

export interface RunOnceOptions {
  readonly id: RequestId;
  readonly connection: Connection;
  readonly settings: RequestsSettings;
  readonly bench: Workbench;
  readonly housekeeping: Housekeeping;
  readonly coalescing: Coalescing;
  readonly signal: AbortSignal;
}

/** How often it is looked at while it waits for its time or for another process, at least. */
const longestPauseMs = 1_000;
/** How long MongoDB may stay away. */
const patienceMs = 60_000;

/** See `RequestWorker.runOnce`. */
export async function runOnce(options: RunOnceOptions): Promise<SyncRequestDocument> {
  const { id, bench, settings, signal } = options;
  const onAbort = (): void => bench.release(id);
  signal.addEventListener('abort', onAbort);
  const over = new AbortController();
  const watching = watchForCancel(options, over.signal);
  try {
    let answeredMs = performance.now();
    for (;;) {
      signal.throwIfAborted();
      const step = await takeStep(options).catch((error: unknown) => {
        if (!isPassing(error) || performance.now() - answeredMs > patienceMs) throw error;
        return undefined;
      });
      if (step) answeredMs = performance.now();
      if (step?.ended) return step.ended;
      if (step?.end?.kind === 'waits' && step.end.fatal) throw step.end.fatal;
      if (step?.end?.kind === 'ended') continue;
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

/** No change stream tells of a wish to cancel here, and the next renewal may be far. */
async function watchForCancel({ id, connection, bench }: RunOnceOptions, over: AbortSignal): Promise<void> {
  const wished = { _id: { $eq: id }, status: 'running', cancel: true };
  while (await pause(longestPauseMs, over)) {
    const count = await requestsOf(connection)
      .countDocuments(wished)
      .catch(() => 0); // the renewal tells it
    if (count > 0) bench.cancel(id);
  }
}

interface Step {
  readonly ended?: SyncRequestDocument;
  readonly end?: RunEnd | undefined;
}

async function takeStep(options: RunOnceOptions): Promise<Step> {
  const { id, connection, bench, housekeeping, coalescing, signal } = options;
  const only = { _id: { $eq: id } };
  const found = await typedRequestsOf(connection).findOne(only, { projection: { batch: 0, ids: 0 } });
  if (!found) throw new Fault('not_found', `There is no request ${String(id)}`, { kind: 'terminal' });
  if (isEndStatus(found.status)) return { ended: found };
  if (found.waitsFor != null) {
    // There may be no daemon that sees to the other one.
    await housekeeping.recover(signal, { _id: { $eq: found.waitsFor } });
    await coalescing.leave(id, found.waitsFor);
  }
  await housekeeping.recover(signal, only);
  await housekeeping.endCancelled(signal, only);
  await housekeeping.failOdd(signal, only);
  return { end: await bench.workOn(id, found.command, signal) };
}
