// The scan lease for those who scan without a request: waits until no other scan runs on the database, and keeps the lease while the task runs.
import { Fault } from './errors.js';
import { toMongoFault } from './mongo-faults.js';
import { pause } from './pause.js';
import type { ScanLease, ScanRight } from './requests/scan-lease.js';

/**
 * Runs the task under the scan lease. The task's signal is aborted when the lease is lost, and `assertHeld` throws then; it is for moments
 * in which the signal cannot know yet, as a process that stood still gets answers before its own timers.
 */
export type Exclusively = <T>(
  signal: AbortSignal,
  task: (signal: AbortSignal, assertHeld: () => void) => Promise<T>,
) => Promise<T>;

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
    const held = { untilMs: right.untilMs };
    const keepers = [renew(lease, right, held, leaseMs, done.signal), watch(held, done.signal)].map(
      (keeper) => keeper.catch((error: unknown) => lost.abort(error)),
    );
    try {
      return await task(AbortSignal.any([outer, lost.signal]), () => {
        if (performance.now() >= held.untilMs) throw leaseLost();
        lost.signal.throwIfAborted();
      });
    } finally {
      done.abort();
      await Promise.all(keepers);
      // Where MongoDB does not take it, it runs out by itself; what the task has done stands.
      await lease.release(right).catch(() => undefined);
    }
  };
};

async function acquire(lease: ScanLease, signal: AbortSignal): Promise<ScanRight> {
  for (;;) {
    signal.throwIfAborted();
    const right = await lease.acquire().catch((error: unknown) => {
      throw toMongoFault(error, 'asking for the right to scan');
    });
    if (right) return right;
    await pause(retryMs, signal);
  }
}

/** Renews until `done`; a renewal that fails is tried again. */
async function renew(
  lease: ScanLease,
  right: ScanRight,
  held: { untilMs: number },
  leaseMs: number,
  done: AbortSignal,
): Promise<void> {
  while (await pause(leaseMs / 3, done)) {
    const sentAtMs = performance.now();
    const isHeld = await lease.renew(right, null).catch(() => undefined);
    if (isHeld === false) throw leaseLost();
    if (isHeld) held.untilMs = sentAtMs + leaseMs;
  }
}

/** Throws when the lease has run out by our own clock: from then on somebody else may scan. */
async function watch(held: { readonly untilMs: number }, done: AbortSignal): Promise<void> {
  do {
    if (performance.now() >= held.untilMs) throw leaseLost();
  } while (await pause(held.untilMs - performance.now(), done));
}

const leaseLost = (): Fault => new Fault('lease_lost', 'The lease on scans was lost', { kind: 'retryable' });
