// Candidates for removal: stored, then proven. Absence from a complete scan is no proof. Each candidate is
// retrieved, and only Stripe's `deleted: true` marks it. There may be as many as the mirror has objects, so
// they are processed in chunks.
import pLimit from 'p-limit';
import { TaskGroup } from '../../base/task-group.js';
import { retrieveAndApply } from '../apply.js';
import type { ItemResult } from '../outcome.js';
import type { Mirror, Source, StripeId } from '../ports.js';
import type { CandidateRuns, Candidates, RemovalsPosition, ScanState } from './state.js';

export interface RemovalLimits {
  /** Share of the living mirror, 0 to 1. */
  readonly maxRatio: number;
  readonly maxCount: number;
}

/** The ids that one run of pages did not find. */
export interface MissedByRun {
  add(ids: readonly StripeId[]): Promise<void>;
  /** The run will not be repeated. */
  settle(): void;
}

/**
 * Keeps candidates under the number of the run of pages that missed them. A run that was not settled when the
 * scan was interrupted is repeated and misses them again, so its candidates are dropped.
 */
export class CandidateLog {
  #next: number;
  readonly #open: Set<number>;

  constructor(
    private readonly state: ScanState,
    private readonly scanId: string,
    { next, open }: CandidateRuns,
  ) {
    this.#next = next;
    this.#open = new Set(open);
  }

  /** On resume, drops the candidates of runs that are not settled. */
  async dropUnsettled(): Promise<void> {
    await this.state.dropCandidates(this.scanId, this.save());
    this.#open.clear();
  }

  /** Begins a run. It takes a number only when it misses an object, because most runs miss none. */
  begin(): MissedByRun {
    let number: number | undefined;
    return {
      add: async (ids) => {
        if (ids.length === 0) return;
        if (number === undefined) {
          number = this.#next++;
          this.#open.add(number);
        }
        await this.state.addCandidates(this.scanId, number, ids);
      },
      settle: () => {
        if (number !== undefined) this.#open.delete(number);
      },
    };
  }

  settleAll(): void {
    this.#open.clear();
  }

  save(): CandidateRuns {
    return { next: this.#next, open: [...this.#open] };
  }
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

  /** All candidates up to this position are proven. */
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
  /** Objects that the scan has listed, though not where the mirror has them: counted, and not suspected. */
  readonly wasListed: (id: StripeId) => boolean;
  /** Objects of test clocks are listed, so they are suspected, too; false by default. */
  readonly ofTestClocks?: boolean;
  readonly signal: AbortSignal;
}

/** How many suspects are still to be retrieved. */
export async function countSuspects(options: SuspectOptions): Promise<number> {
  let count = 0;
  for await (const { ids } of suspects(options)) count += ids.length;
  return count;
}

interface Suspects extends Candidates {
  /** Candidates that are not suspected. */
  readonly others: readonly StripeId[];
}

/**
 * The candidates that may have been deleted: not confirmed deleted, not of a test clock unless these are
 * listed, and not unknown to Stripe within the last 30 days.
 */
async function* suspects(options: SuspectOptions): AsyncGenerator<Suspects, void, undefined> {
  const { mirror, state, scanId, progress, wasListed, ofTestClocks = false, signal } = options;
  for await (const { ids, upTo } of state.candidates(scanId, progress.after)) {
    signal.throwIfAborted();
    const open = ids.filter((id) => !progress.isProven(id) && !wasListed(id));
    const absent = await state.recentlyAbsent(open);
    const suspected = new Set(await mirror.suspects(open, { ofTestClocks }));
    yield {
      ids: open.filter((id) => suspected.has(id) && !absent.has(id)),
      others: open.filter((id) => !suspected.has(id)),
      upTo,
    };
  }
}

const chunkSize = 1_000;

/** Makes candidates of objects without a usable `created`, which are in no interval. */
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

/**
 * A very large number of removals at once suggests a wrong key or a broken list. They are held if both limits
 * are exceeded.
 */
export function areHeld(count: number, living: number, { maxRatio, maxCount }: RemovalLimits): boolean {
  return count > maxCount && count > maxRatio * living;
}

export interface ProveOptions extends SuspectOptions {
  readonly source: Source;
  /** Retrievals at once. The source's own limits apply as well. */
  readonly retrievesAtOnce: number;
  readonly onResult: (result: ItemResult) => Promise<void> | void;
  /** Saves the progress, before ids are remembered as absent: these are not retrieved again. */
  readonly onChunk?: () => Promise<void>;
}

/**
 * Retrieves each suspect from Stripe. It is `deleted` only if Stripe says so. One that Stripe does not know
 * in this account is left alone, reported (`unchanged`, code `not_in_account`) and not retrieved again for 30
 * days. One that is alive after all is updated. One whose deletion was confirmed since it was missed, by a
 * run that was killed or by another request, is `deleted` without a call: it counts once in any case.
 */
export async function proveRemovals(options: ProveOptions): Promise<void> {
  const { source, mirror, state, progress, retrievesAtOnce, signal, onResult, onChunk } = options;
  const limit = pLimit(retrievesAtOnce);
  for await (const { ids, others, upTo } of suspects(options)) {
    const absent: StripeId[] = [];
    for (const id of await confirmedOf(mirror, others)) {
      progress.proved(id);
      await onResult({ id, outcome: 'deleted' });
    }
    const group = new TaskGroup(signal);
    const prove = async (id: StripeId): Promise<void> => {
      group.signal.throwIfAborted();
      const result = await retrieveAndApply(source, mirror, id, { priority: 'scan', signal: group.signal });
      const isAbsent = result.code === 'not_in_account';
      if (isAbsent) absent.push(id);
      progress.proved(id);
      await onResult(isAbsent ? { ...result, outcome: 'unchanged' } : result);
    };
    await group.finish(ids.map((id) => limit(prove, id)));
    if (absent.length > 0) await onChunk?.();
    for (const id of absent) await state.noteAbsent(id);
    progress.moveTo(upTo);
  }
}

/** Those whose deletion Stripe has confirmed. */
async function confirmedOf(mirror: Mirror, ids: readonly StripeId[]): Promise<StripeId[]> {
  if (ids.length === 0) return [];
  const heads = await mirror.headsOf(ids);
  return ids.filter((id) => heads.get(id)?.deletedBy === 'stripe');
}
