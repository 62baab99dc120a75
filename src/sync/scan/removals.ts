// Candidates for removal: absence from a complete scan is no proof, so each is retrieved, and only Stripe's `deleted: true` marks it.
// There may be as many as the mirror has: they are read and asked for some at a time.
import pLimit from 'p-limit';
import { Crew } from '../../base/task-group.js';
import { retrieveAndApply } from '../apply.js';
import type { ItemResult } from '../outcome.js';
import type { Mirror, Source, StripeId } from '../ports.js';
import type { MissedByRun } from './candidate-log.js';
import type { Candidates, RemovalsPosition, ScanState } from './state.js';

export interface RemovalLimits {
  /** Share of the living mirror, 0 to 1. */
  readonly maxRatio: number;
  readonly maxCount: number;
}

/** How far the candidates of a scan are proven. */
export class RemovalsProgress {
  #after: string | null;
  #proven: Set<StripeId>;

  constructor({ after, proven }: RemovalsPosition) {
    this.#after = after;
    this.#proven = new Set(proven);
  }

  get after(): string | null {
    return this.#after;
  }

  isProven(id: StripeId): boolean {
    return this.#proven.has(id);
  }

  proved(id: StripeId): void {
    this.#proven.add(id);
  }

  /** All up to there are proven. */
  moveTo(position: string): void {
    this.#after = position;
    this.#proven.clear();
  }

  save(): RemovalsPosition {
    return { after: this.#after, proven: [...this.#proven] };
  }
}

export interface SuspectOptions {
  readonly mirror: Mirror;
  readonly state: ScanState;
  readonly scanId: string;
  readonly progress: RemovalsProgress;
  readonly signal: AbortSignal;
}

/** How many are still to be asked for. */
export async function countSuspects(options: SuspectOptions): Promise<number> {
  let count = 0;
  for await (const { ids } of suspects(options)) count += ids.length;
  return count;
}

/**
 * The candidates that may have been deleted: neither confirmed deleted already nor of a test clock (those are never listed), nor unknown
 * to Stripe within the last 30 days.
 */
async function* suspects({
  mirror,
  state,
  scanId,
  progress,
  signal,
}: SuspectOptions): AsyncGenerator<Candidates, void, undefined> {
  for await (const { ids, upTo } of state.candidates(scanId, progress.after)) {
    signal.throwIfAborted();
    const absent = await state.recentlyAbsent(ids);
    const suspected = await mirror.suspects(ids);
    yield { ids: suspected.filter((id) => !absent.has(id) && !progress.isProven(id)), upTo };
  }
}

const chunkSize = 1_000;

/** Makes candidates of those without `created`, which no interval holds. */
export async function missWithoutCreated(
  mirror: Mirror,
  missed: MissedByRun,
  signal: AbortSignal,
): Promise<void> {
  const chunk: StripeId[] = [];
  for await (const id of mirror.withoutCreated(signal)) {
    chunk.push(id);
    if (chunk.length === chunkSize) await missed.add(chunk.splice(0));
  }
  await missed.add(chunk);
}

/** Too many at once look like a wrong key or a broken list rather than like removals: both limits must be exceeded to hold them. */
export function areHeld(count: number, living: number, { maxRatio, maxCount }: RemovalLimits): boolean {
  return count > maxCount && count > maxRatio * living;
}

export interface ProveOptions extends SuspectOptions {
  readonly source: Source;
  /** The source's own limits hold besides. */
  readonly retrievesAtOnce: number;
  readonly onResult: (result: ItemResult) => Promise<void> | void;
}

/**
 * Asks Stripe for each suspect. `deleted` only where Stripe says so; one that Stripe does not know in this account is left alone,
 * reported (`unchanged`, code `not_in_account`) and not asked for again for 30 days; one that is alive after all is brought in line.
 */
export async function proveRemovals(options: ProveOptions): Promise<void> {
  const { source, mirror, state, progress, retrievesAtOnce, signal, onResult } = options;
  const limit = pLimit(retrievesAtOnce);
  for await (const { ids, upTo } of suspects(options)) {
    const crew = new Crew(signal);
    const prove = async (id: StripeId): Promise<void> => {
      crew.signal.throwIfAborted();
      const result = await retrieveAndApply(source, mirror, id, { priority: 'scan', signal: crew.signal });
      const isAbsent = result.code === 'not_in_account';
      if (isAbsent) await state.noteAbsent(id);
      progress.proved(id);
      await onResult(isAbsent ? { ...result, outcome: 'unchanged' } : result);
    };
    await crew.finish(ids.map((id) => limit(prove, id)));
    progress.moveTo(upTo);
  }
}
