// Outcomes of objects, and how they add up to the result of a request.
import type { FaultCode } from '../base/errors.js';

/**
 * Outcome of one object. `stale`: the data is older than the stored data, or Stripe has confirmed the
 * deletion.
 */
export type Outcome = 'created' | 'updated' | 'unchanged' | 'deleted' | 'stale' | 'failed';

export const outcomes: readonly Outcome[] = ['created', 'updated', 'unchanged', 'deleted', 'stale', 'failed'];

export interface ItemResult {
  readonly id: string;
  readonly outcome: Outcome;
  readonly code?: FaultCode;
  readonly message?: string;
}

/** The result of an object that failed with this code. */
export const failedItem = (
  id: string,
  { code, message }: { readonly code: FaultCode; readonly message: string },
): ItemResult => ({ id, outcome: 'failed', code, message });

/** In place of the id of an entry that has no usable one. Each such entry counts for itself. */
export const noId = '(invalid)';

/** How many items a result lists. All of them are counted. */
const maxResultItems = 1_000;

/**
 * Result of a request: a count per outcome, and the first `maxResultItems` items (of a scan, only notable
 * ones).
 */
export interface SyncResult extends Record<Outcome, number> {
  readonly items: readonly ItemResult[];
  /** Candidates for removal that were held for approval; only on scans. */
  readonly removalsHeld?: number;
}

/**
 * Progress of a request: `done` objects of `estimated`; `ratio` 0 to 1 where it is known better than by
 * count.
 */
export interface Progress {
  readonly done: number;
  readonly estimated: number | undefined;
  readonly ratio: number | undefined;
}

/** Adds up the outcomes of one run. */
export class Tally {
  readonly #counts: Record<Outcome, number>;
  readonly #items: ItemResult[] = [];

  constructor(from?: SyncResult) {
    const counts = Object.fromEntries(outcomes.map((outcome) => [outcome, from?.[outcome] ?? 0]));
    this.#counts = counts as Record<Outcome, number>; // `outcomes` lists each
    this.#items.push(...(from?.items ?? []).slice(0, maxResultItems));
  }

  /** Counts an item and lists it while there is room. */
  add(item: ItemResult): void {
    this.#counts[item.outcome] += 1;
    if (this.#items.length < maxResultItems) this.#items.push(item);
  }

  /** Counts without listing. */
  count(outcome: Outcome): void {
    this.#counts[outcome] += 1;
  }

  /** Adds another result, its items included. */
  addAll(result: SyncResult): void {
    for (const outcome of outcomes) this.#counts[outcome] += result[outcome];
    this.#items.push(...result.items.slice(0, maxResultItems - this.#items.length));
  }

  get done(): number {
    return countOf(this.#counts);
  }

  result(extra: { removalsHeld?: number } = {}): SyncResult {
    return { ...this.#counts, items: [...this.#items], ...extra };
  }
}

/** Of several outcomes of one object the first in this order counts. */
const precedence: readonly Outcome[] = ['failed', 'deleted', 'created', 'updated', 'stale', 'unchanged'];

/** Adds up results of which several may be of one object: each object counts once. Memory grows with them. */
export class TallyById {
  readonly #items = new Map<string, ItemResult>();
  #invalid = 0;

  add(item: ItemResult): void {
    const key = item.id === noId ? `${noId} ${(this.#invalid += 1)}` : item.id;
    const known = this.#items.get(key);
    const isFirst =
      known !== undefined && precedence.indexOf(known.outcome) <= precedence.indexOf(item.outcome);
    if (!isFirst) this.#items.set(key, item);
  }

  result(): SyncResult {
    const tally = new Tally();
    for (const item of this.#items.values()) tally.add(item);
    return tally.result();
  }
}

const countOf = (counts: Readonly<Record<Outcome, number>>): number =>
  outcomes.reduce((sum, outcome) => sum + counts[outcome], 0);

/** How a run ended: `failed` if everything failed, `partial` if something failed or removals are held. */
export function statusOf(result: SyncResult): 'succeeded' | 'partial' | 'failed' {
  if (result.failed > 0 && result.failed === countOf(result)) return 'failed';
  return result.failed > 0 || (result.removalsHeld ?? 0) > 0 ? 'partial' : 'succeeded';
}

/**
 * Attaches the partial result to an error, so that a cancelled or failed request can report it. A thrown
 * value that is not an Error is returned unchanged.
 */
export function withResult(error: unknown, result: SyncResult): unknown {
  return error instanceof Error ? Object.assign(error, { result }) : error;
}

/** The partial result that `withResult` attached to the error, if any. */
export function partialResultOf(error: unknown): SyncResult | undefined {
  if (!(error instanceof Error) || !('result' in error)) return undefined;
  return error.result as SyncResult; // only withResult sets it
}
