// How far a scan has come: what its checkpoint holds, while it runs.
import { Tally } from '../outcome.js';
import type { Answer } from '../ports.js';
import { CandidateLog } from './candidate-log.js';
import { Plan, Window } from './plan.js';
import { RemovalsProgress } from './removals.js';
import type { Checkpoint, ScanState } from './state.js';

export class ScanProgress {
  readonly scanId: string;
  phase: Checkpoint['phase'];
  pages: number;
  /** Stripe's clock when the scan began, or shortly before; undefined before the first answer. */
  t0: number | undefined;
  /** The windows that cover all time; undefined before they are cut. */
  plan: Plan | undefined;
  readonly candidates: CandidateLog;
  readonly removals: RemovalsProgress;
  readonly tally: Tally;
  readonly #checkpoint: Checkpoint;
  /** `performance.now()`. */
  readonly #beganAtMs = performance.now();

  /** Begins, or goes on where a checkpoint was taken; no call to Stripe was made before. */
  constructor(checkpoint: Checkpoint, state: ScanState) {
    this.#checkpoint = checkpoint;
    this.scanId = checkpoint.scanId;
    this.phase = checkpoint.phase;
    this.pages = checkpoint.pages;
    this.t0 = checkpoint.t0;
    const windows = checkpoint.windows.map((window) => Window.restore(window));
    this.plan = windows.length > 0 ? new Plan(windows) : undefined;
    this.candidates = new CandidateLog(state, checkpoint.scanId, checkpoint.candidates);
    this.removals = new RemovalsProgress(checkpoint.removals);
    this.tally = new Tally(checkpoint.result);
  }

  /** Takes note of a page and of what it tells about T0. */
  listed(page: Answer & { readonly stripeTime: number }): void {
    this.pages += 1;
    this.t0 = Math.min(this.t0 ?? Infinity, startBy(page, this.#beganAtMs));
  }

  /** A copy: it does not change while it is saved. */
  snapshot(): Checkpoint {
    const { phase, pages, t0, plan, candidates, removals, tally } = this;
    return {
      ...this.#checkpoint,
      phase,
      pages,
      ...(t0 !== undefined && { t0 }),
      windows: plan?.windows.map((window) => window.save()) ?? [],
      candidates: candidates.save(),
      removals: removals.save(),
      result: tally.result(),
    };
  }
}

/**
 * Stripe's clock when the scan began, unix seconds, or a little earlier: what Stripe's clock said in an answer, less the time since. Never
 * later, whichever window the answer is of and however long it took: what the topmost window does not list for being younger than its first page
 * is younger than this, too.
 */
function startBy(
  { stripeTime, receivedAtMs }: Answer & { readonly stripeTime: number },
  beganAtMs: number,
): number {
  return Math.max(0, Math.floor(stripeTime - (receivedAtMs - beganAtMs) / 1_000));
}

/** Differs where a checkpoint has come further: more is settled, or more is concluded. Thefts alone are no progress. */
export const reached = ({ phase, windows, removals }: Checkpoint): string =>
  JSON.stringify([
    phase,
    windows.filter(({ cursor, done }) => done || cursor !== null).map(({ cursor, done }) => [cursor, done]),
    removals.after,
    removals.proven.length,
  ]);
