// The scan lease for those who scan without a request: waits until no other scan runs on the database, and keeps the lease while the task runs.
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from './errors.js';
import type { ScanLease, ScanRight } from './requests/scan-lease.js';

/** Runs the task under the scan lease; its signal is aborted when the lease is lost. */
export type Exclusively = <T>(signal: AbortSignal, task: (signal: AbortSignal) => Promise<T>) => Promise<T>;

/** How often a lease that another one holds is asked for again. */
const retryMs = 500;

/**
 * The task's signal is aborted with a Fault `lease_lost` when the lease could not be renewed in time.
 * @param leaseMs of the lease; renewed three times as often
 */
export const exclusivelyBy = (lease: ScanLease, leaseMs: number): Exclusively => {
  return async (outer, task) => {
    const right = await acquire(lease, outer);
    const done = new AbortController();
    const lost = new AbortController();
    const renewing = keep(lease, right, leaseMs, done.signal).catch((error: unknown) => {
      if (!done.signal.aborted) lost.abort(error);
    });
    try {
      return await task(AbortSignal.any([outer, lost.signal]));
    } finally {
      done.abort();
      await renewing;
      await lease.release(right);
    }
  };
};

async function acquire(lease: ScanLease, signal: AbortSignal): Promise<ScanRight> {
  for (;;) {
    signal.throwIfAborted();
    const right = await lease.acquire();
    if (right) return right;
    await sleep(retryMs, undefined, { signal });
  }
}

/** Renews until the signal; a failed renewal is tried again while the lease holds. */
async function keep(lease: ScanLease, right: ScanRight, leaseMs: number, done: AbortSignal): Promise<void> {
  let untilMs = right.untilMs;
  for (;;) {
    await sleep(leaseMs / 3, undefined, { signal: done });
    const sentAtMs = performance.now();
    const held = await lease.renew(right, null).catch(() => performance.now() < untilMs);
    if (!held) throw new Fault('lease_lost', 'The lease on scans was lost', { kind: 'retryable' });
    untilMs = sentAtMs + leaseMs;
  }
}
