// What became of objects, and how outcomes add up to the result of a request.
import type { FaultCode } from '../base/errors.js';

/** What became of one object. `stale`: what was read is older than what is stored, or Stripe has confirmed its deletion. */
export type Outcome = 'created' | 'updated' | 'unchanged' | 'deleted' | 'stale' | 'failed';

export const outcomes = [
  'created',
  'updated',
  'unchanged',
  'deleted',
  'stale',
  'failed',
] as const satisfies readonly Outcome[];

export interface ItemResult {
  readonly id: string;
  readonly outcome: Outcome;
  readonly code?: FaultCode;
  readonly message?: string;
}

/** How many items a result lists; all are counted. */
const maxResultItems = 1_000;

/** Result of a request: a count an outcome, and the first `maxResultItems` items (of a scan only those worth a look). */
export interface SyncResult extends Record<Outcome, number> {
  readonly items: readonly ItemResult[];
  /** Candidates for removal that were held for approval; only on scans. */
  readonly removalsHeld?: number;
}

/** Progress of a request: `done` objects of `estimated`; `ratio` 0 to 1 where it is known better than by count. */
export interface Progress {
  readonly done: number;
  readonly estimated: number | undefined;
  readonly ratio: number | undefined;
}

/** Adds outcomes up. Not a model of state: one tally belongs to one run. */
export class Tally {
  readonly #counts: Record<Outcome, number> = {
    created: 0,
    updated: 0,
    unchanged: 0,
    deleted: 0,
    stale: 0,
    failed: 0,
  };
  readonly #items: ItemResult[] = [];

  constructor(from?: SyncResult) {
    if (!from) return;
    for (const outcome of outcomes) this.#counts[outcome] = from[outcome];
    this.#items.push(...from.items.slice(0, maxResultItems));
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

  get done(): number {
    return outcomes.reduce((sum, outcome) => sum + this.#counts[outcome], 0);
  }

  result(extra: { removalsHeld?: number } = {}): SyncResult {
    return { ...this.#counts, items: [...this.#items], ...extra };
  }
}

/** How a run ended: nothing failed is `succeeded`, everything `failed`, some `partial`. Held removals make a scan partial. */
export function statusOf(result: SyncResult): 'succeeded' | 'partial' | 'failed' {
  const done = outcomes.reduce((sum, outcome) => sum + result[outcome], 0);
  if (result.failed > 0 && result.failed === done) return 'failed';
  return result.failed > 0 || (result.removalsHeld ?? 0) > 0 ? 'partial' : 'succeeded';
}

/**
 * Attaches to a fault what was done before it, so that a cancelled or failed request can tell it. Anything thrown that is no Error
 * is returned as it is.
 */
export function withResult(error: unknown, result: SyncResult): unknown {
  return error instanceof Error ? Object.assign(error, { result }) : error;
}

/** What was done before the fault, where `withResult` said so. */
export function partialResultOf(error: unknown): SyncResult | undefined {
  if (!(error instanceof Error) || !('result' in error)) return undefined;
  return error.result as SyncResult; // only withResult sets it
}
