// Candidates for removal: absence from a complete scan is no proof, so each is retrieved, and only Stripe's `deleted: true` marks it.
import pLimit from 'p-limit';
import { retrieveAndApply } from '../apply.js';
import { Crew } from '../crew.js';
import type { ItemResult } from '../outcome.js';
import type { Mirror, Source, StripeId } from '../ports.js';
import type { ScanState } from './state.js';

export interface RemovalLimits {
  /** Share of the living mirror, 0 to 1. */
  readonly maxRatio: number;
  readonly maxCount: number;
}

/**
 * The customers that a complete scan missed and that may have been deleted: neither confirmed deleted already nor of a test
 * clock (those are never listed), nor unknown to Stripe within the last 30 days. Includes those without `created`, which no
 * interval holds.
 */
export async function findSuspects(
  mirror: Mirror,
  state: ScanState,
  scanId: string,
  signal: AbortSignal,
): Promise<StripeId[]> {
  const suspects = new Set<StripeId>();
  const keep = async (ids: readonly StripeId[]): Promise<void> => {
    const absent = await state.recentlyAbsent(ids);
    for (const id of await mirror.suspects(ids)) if (!absent.has(id)) suspects.add(id);
  };
  for await (const ids of state.candidates(scanId)) {
    signal.throwIfAborted();
    await keep(ids);
  }
  const chunk: StripeId[] = [];
  for await (const id of mirror.withoutCreated(signal)) {
    chunk.push(id);
    if (chunk.length === 1_000) await keep(chunk.splice(0));
  }
  await keep(chunk);
  return [...suspects];
}

/** Too many at once look like a wrong key or a broken list rather than like removals: both limits must be exceeded to hold them. */
export function areHeld(suspects: number, living: number, { maxRatio, maxCount }: RemovalLimits): boolean {
  return suspects > maxCount && suspects > maxRatio * living;
}

export interface ProveOptions {
  readonly source: Source;
  readonly mirror: Mirror;
  readonly state: ScanState;
  /** Retrievals at once; the source's own limits hold besides. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
  readonly onResult: (result: ItemResult) => Promise<void> | void;
}

/**
 * Asks Stripe for each suspect. `deleted` only where Stripe says so; one that Stripe does not know in this account is left alone,
 * reported (`unchanged`, code `not_in_account`) and not asked for again for 30 days; one that is alive after all is brought in line.
 */
export async function proveRemovals(suspects: readonly StripeId[], options: ProveOptions): Promise<void> {
  const { source, mirror, state, concurrency, signal, onResult } = options;
  const crew = new Crew(signal);
  const limit = pLimit(concurrency);
  const prove = async (id: StripeId): Promise<void> => {
    crew.signal.throwIfAborted();
    const result = await retrieveAndApply(source, mirror, id, { priority: 'scan', signal: crew.signal });
    const isAbsent = result.code === 'not_in_account';
    if (isAbsent) await state.noteAbsent(id);
    await onResult(isAbsent ? { ...result, outcome: 'unchanged' } : result);
  };
  await crew.finish(suspects.map((id) => limit(prove, id)));
}
