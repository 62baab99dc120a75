// Works on one request until it has ended, for commands that run without a daemon.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from 'mongoose';
import { Fault } from '../errors.js';
import { typedRequestsOf } from './collection.js';
import { isEndStatus, type RequestId, type SyncRequestDocument } from './document.js';
import type { Housekeeping } from './housekeeping.js';
import { isPassing, toMongoFault } from '../mongo-faults.js';
import type { RequestsSettings } from './queue.js';
import type { RunEnd } from './run.js';
import type { Workbench } from './workbench.js';

export interface RunOnceOptions {
  readonly id: RequestId;
  readonly connection: Connection;
  readonly settings: RequestsSettings;
  readonly bench: Workbench;
  readonly housekeeping: Housekeeping;
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
      await sleep(Math.min(settings.pollIntervalMs, longestPauseMs), undefined, { signal });
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw toMongoFault(error, 'working on a request');
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

interface Step {
  readonly ended?: SyncRequestDocument;
  readonly end?: RunEnd | undefined;
}

async function takeStep({ id, connection, bench, housekeeping, signal }: RunOnceOptions): Promise<Step> {
  const only = { _id: { $eq: id } };
  const found = await typedRequestsOf(connection).findOne(only, { projection: { batch: 0, ids: 0 } });
  if (!found) throw new Fault('not_found', `There is no request ${String(id)}`, { kind: 'terminal' });
  if (isEndStatus(found.status)) return { ended: found };
  await housekeeping.recover(signal, only);
  await housekeeping.endCancelled(signal, only);
  await housekeeping.failOdd(signal, only);
  return { end: await bench.workOn(id, found.command, signal) };
}
