// Counts each object of a scan once, however often the scan meets it.
import { type ItemResult, noId, type SyncResult, Tally } from '../outcome.js';
import type { StripeId } from '../ports.js';
import type { Checkpoint } from './state.js';

/** Maximum number of objects whose outcome in the catch-up is remembered for the case of an interruption. */
const maxCaughtUp = 10_000;
/** Maximum number of objects that are remembered as listed elsewhere or by their clock. */
const maxElsewhere = 20_000;

/**
 * The windows count what was created before the catch-up's range, the catch-up counts the rest. An
 * interrupted catch-up starts again in the next run: it counts only when it is complete. Memory is bounded.
 */
export class ScanCounts {
  readonly #settled: Tally;
  #caughtUp = new Tally();
  /** What the catch-up has written so far, interrupted ones included. */
  readonly #written: Map<string, 'created' | 'updated'>;
  readonly #elsewhere: Set<StripeId>;
  /** Those of the catch-up, which count when it is complete. */
  #caughtUpElsewhere: StripeId[] = [];

  constructor({ result, caughtUp, elsewhere }: Pick<Checkpoint, 'result' | 'caughtUp' | 'elsewhere'>) {
    this.#settled = new Tally(result);
    this.#written = new Map([
      ...caughtUp.created.map((id) => [id, 'created'] as const),
      ...caughtUp.updated.map((id) => [id, 'updated'] as const),
    ]);
    this.#elsewhere = new Set(elsewhere);
  }

  count(result: ItemResult): void {
    countIn(this.#settled, result);
  }

  /**
   * Counts what windows have settled, unless it is counted already. Notes which of it the mirror had
   * elsewhere: windows may list such an object again, and it may be missed where the mirror had it.
   */
  countListed(results: readonly ItemResult[], elsewhere: readonly StripeId[]): void {
    for (const result of results) if (!this.#isNoted(result)) this.count(result);
    this.#note(elsewhere);
  }

  /** The same for the objects of a test clock, all of which may be listed again. */
  countOfClock(results: readonly ItemResult[]): void {
    const ids = results.map(({ id }) => id).filter((id) => id !== noId) as StripeId[]; // of listed objects
    this.countListed(results, ids);
  }

  /** The same for the catch-up. */
  countCaughtUp(results: readonly ItemResult[], elsewhere: readonly StripeId[]): void {
    for (const result of results) if (!this.#isNoted(result)) this.#countOneCaughtUp(result);
    this.#caughtUpElsewhere.push(...elsewhere.slice(0, maxElsewhere - this.#caughtUpElsewhere.length));
  }

  #countOneCaughtUp(result: ItemResult): void {
    const counted = { ...result, outcome: sinceTheStart(this.#written.get(result.id), result.outcome) };
    countIn(this.#caughtUp, counted);
    const { id, outcome } = counted;
    if (outcome !== 'created' && outcome !== 'updated') return;
    if (this.#written.has(id) || this.#written.size < maxCaughtUp) this.#written.set(id, outcome);
  }

  /** The catch-up is complete and does not start again. */
  endCatchUp(): void {
    this.#settled.addAll(this.#caughtUp.result());
    this.#caughtUp = new Tally();
    this.#written.clear();
    this.#note(this.#caughtUpElsewhere);
    this.#caughtUpElsewhere = [];
  }

  #isNoted({ id }: ItemResult): boolean {
    return this.#elsewhere.has(id as StripeId); // a result without an id has none of them
  }

  #note(ids: readonly StripeId[]): void {
    for (const id of ids) if (this.#elsewhere.size < maxElsewhere) this.#elsewhere.add(id);
  }

  wasListedElsewhere(id: StripeId): boolean {
    return this.#elsewhere.has(id);
  }

  /** Some objects listed elsewhere may be forgotten. */
  get isElsewhereFull(): boolean {
    return this.#elsewhere.size >= maxElsewhere;
  }

  get elsewhere(): readonly StripeId[] {
    return [...this.#elsewhere];
  }

  get done(): number {
    return this.#settled.done + this.#caughtUp.done;
  }

  /** Everything counted so far. */
  result(extra: { removalsHeld?: number } = {}): SyncResult {
    const all = new Tally(this.#settled.result());
    all.addAll(this.#caughtUp.result());
    return all.result(extra);
  }

  save(): Pick<Checkpoint, 'result' | 'caughtUp' | 'elsewhere'> {
    const written = [...this.#written];
    const idsOf = (which: string) =>
      written.filter(([, outcome]) => outcome === which).map(([id]) => id as StripeId); // results of listed objects
    return {
      result: this.#settled.result(),
      caughtUp: { created: idsOf('created'), updated: idsOf('updated') },
      elsewhere: this.elsewhere,
    };
  }
}

/** The outcome since the scan began, of an object that an interrupted catch-up has written before. */
function sinceTheStart(
  before: 'created' | 'updated' | undefined,
  now: ItemResult['outcome'],
): ItemResult['outcome'] {
  return before !== undefined && (now === 'unchanged' || now === 'updated') ? before : now;
}

/** A scan lists only notable items: the ordinary outcomes are counted. */
function countIn(tally: Tally, result: ItemResult): void {
  const isOrdinary = result.code === undefined && result.outcome !== 'deleted' && result.outcome !== 'failed';
  if (isOrdinary) tally.count(result.outcome);
  else tally.add(result);
}
