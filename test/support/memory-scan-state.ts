// The port `ScanState` in memory, written from what src/sync/scan/state.ts says of it and not from the implementation on MongoDB. What a
// dry run uses (`volatileScanState`) is less: it forgets checkpoints, holds nothing and refuses nobody.
import type { StripeId } from '../../src/sync/ports.js';
import {
  type Approval,
  type CandidateRuns,
  type Candidates,
  type Checkpoint,
  type Confirmed,
  type HeldRemovals,
  type ScanState,
  supersededRun,
} from '../../src/sync/scan/state.js';

const absentForDays = 30;
const dayMs = 86_400_000;

/** What was read is a copy, as it would be from a server. */
const copied = <T>(value: T): T => structuredClone(value);
const turn = (): Promise<void> => Promise.resolve();

interface Held extends HeldRemovals {
  readonly atMs: number;
  readonly confirmed: Confirmed | undefined;
  runId?: string;
  approval?: Approval;
}

export class MemoryScanState implements ScanState {
  #nowMs = 0;
  #runId: string | undefined;
  #checkpoint: Checkpoint | undefined;
  #candidates: { scanId: string; run: number; ids: readonly StripeId[]; position: number }[] = [];
  #added = 0;
  #held: Held | undefined;
  #completed: { scanId: string; atMs: number; confirmed: Confirmed | undefined } | undefined;
  readonly #absent = new Map<StripeId, number>();

  async begin(runId: string): Promise<unknown> {
    await turn();
    this.#runId = runId;
    return copied(this.#checkpoint);
  }

  async save(runId: string, checkpoint: Checkpoint): Promise<void> {
    const saved = copied(checkpoint);
    await turn();
    this.#requireRun(runId);
    this.#checkpoint = saved;
  }

  async addCandidates(scanId: string, run: number, ids: readonly StripeId[]): Promise<void> {
    await turn();
    this.#added += 1;
    this.#candidates.push({ scanId, run, ids: [...ids], position: this.#added });
  }

  async dropCandidates(scanId: string, { next, open }: CandidateRuns): Promise<void> {
    await turn();
    const isSettled = (run: number): boolean => run < next && !open.includes(run);
    this.#candidates = this.#candidates.filter((kept) => kept.scanId !== scanId || isSettled(kept.run));
  }

  async *candidates(scanId: string, after: string | null): AsyncGenerator<Candidates, void, undefined> {
    for (let position = Number(after ?? 0); ;) {
      await turn();
      const next = this.#candidates.find((kept) => kept.scanId === scanId && kept.position > position);
      if (!next) return;
      position = next.position;
      yield { ids: next.ids, upTo: String(position) };
    }
  }

  async end(
    runId: string,
    {
      scanId,
      isComplete,
      heldFor,
      heldCount = 0,
      elsewhere = [],
      confirmed: given,
    }: Parameters<ScanState['end']>[1],
  ): Promise<void> {
    const confirmed = copied(given);
    await turn();
    this.#requireRun(runId);
    this.#checkpoint = undefined;
    const atMs = this.#nowMs;
    const isHeld = heldFor !== undefined;
    this.#held = isHeld
      ? { scanId, requestId: heldFor, count: heldCount, elsewhere: [...elsewhere], atMs, confirmed }
      : undefined;
    this.#candidates = this.#candidates.filter((kept) => isHeld && kept.scanId === scanId);
    if (isComplete) this.#completed = { scanId, atMs, confirmed };
  }

  async lastComplete(): Promise<Confirmed | undefined> {
    await turn();
    return copied(this.#completed?.confirmed);
  }

  async held(): Promise<HeldRemovals | undefined> {
    await turn();
    if (!this.#held) return undefined;
    const { scanId, requestId, count, elsewhere, approval } = this.#held;
    return { scanId, requestId, count, elsewhere, approval: copied(approval) };
  }

  async beginApproval(runId: string, held: HeldRemovals): Promise<unknown> {
    await turn();
    const own = this.#sameHeld(held);
    if (!own) throw supersededRun();
    own.runId = runId;
    return copied(own.approval);
  }

  async saveApproval(runId: string, approval: Approval): Promise<void> {
    const saved = copied(approval);
    await turn();
    if (this.#held?.runId !== runId) throw supersededRun();
    this.#held.approval = saved;
  }

  async endHeld(held: HeldRemovals): Promise<void> {
    await turn();
    const own = this.#sameHeld(held);
    if (!own) return;
    const atMs = Math.min(own.atMs, this.#nowMs);
    this.#completed = { scanId: own.scanId, atMs, confirmed: own.confirmed };
    this.#candidates = this.#candidates.filter(({ scanId }) => scanId !== own.scanId);
    this.#held = undefined;
  }

  async recentlyAbsent(ids: readonly StripeId[]): Promise<ReadonlySet<StripeId>> {
    await turn();
    const since = this.#nowMs - absentForDays * dayMs;
    return new Set(
      ids.filter((id) => {
        const noted = this.#absent.get(id) ?? -Infinity;
        return noted > since && noted <= this.#nowMs;
      }),
    );
  }

  async noteAbsent(id: StripeId): Promise<void> {
    await turn();
    this.#absent.set(id, this.#nowMs);
  }

  daysPass(days: number): void {
    this.#nowMs += days * dayMs;
  }

  /** The last complete scan, and how many days ago it was. */
  completed(): { scanId: string; daysAgo: number } | undefined {
    if (!this.#completed) return undefined;
    const { scanId, atMs } = this.#completed;
    return { scanId, daysAgo: (this.#nowMs - atMs) / dayMs };
  }

  #requireRun(runId: string): void {
    if (this.#runId !== runId) throw supersededRun();
  }

  #sameHeld({ scanId, requestId }: HeldRemovals): Held | undefined {
    return this.#held?.scanId === scanId && this.#held.requestId === requestId ? this.#held : undefined;
  }
}
