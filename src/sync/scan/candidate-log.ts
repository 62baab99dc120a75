// Candidates for removal as a scan keeps them: under the number of the run of pages that missed them. Those of a run that was not settled
// when the scan was interrupted can so be told from the others; they are dropped, for the run comes again and misses them again.
import type { StripeId } from '../ports.js';
import type { CandidateRuns, ScanState } from './state.js';

/** What one run of pages has missed. */
export interface MissedByRun {
  add(ids: readonly StripeId[]): Promise<void>;
  /** The run does not come again. */
  settle(): void;
}

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

  /** Where a scan is gone on with: drops what was missed by runs that are not settled. */
  async dropUnsettled(): Promise<void> {
    await this.state.dropCandidates(this.scanId, this.save());
    this.#open.clear();
  }

  /** A run takes a number when it misses somebody: most miss nobody. */
  begin(): MissedByRun {
    let number: number | undefined;
    return {
      add: async (ids) => {
        if (ids.length === 0) return;
        number ??= this.#take();
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

  #take(): number {
    const number = this.#next;
    this.#next += 1;
    this.#open.add(number);
    return number;
  }
}
