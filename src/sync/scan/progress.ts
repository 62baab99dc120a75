// How far a scan has come while it runs, and the saving of its checkpoint.
import type { Answer } from '../ports.js';
import { ScanCounts } from './counts.js';
import { Plan, Window } from './plan.js';
import { CandidateLog, RemovalsProgress } from './removals.js';
import type { Checkpoint, Confirmed, ScanState } from './state.js';

/** What the progress takes from a page. */
interface ListedPage extends Answer {
  readonly stripeTime: number;
  readonly disordered?: number;
}

export class ScanProgress {
  readonly scanId: string;
  phase: Checkpoint['phase'];
  pages: number;
  /** The last test clock whose objects are settled; undefined before the first. */
  clocksAfter: string | undefined;
  /** Rows out of order that this run met. */
  disordered = 0;
  /**
   * T0: Stripe's clock when the scan began, or shortly before; undefined before the first answer. It never
   * changes: it divides what the windows count from what the catch-up counts.
   */
  t0: number | undefined;
  /** MongoDB's clock when the first page was asked for, milliseconds; infinite before the first answer. */
  #from: number;
  /** The windows that cover all time; undefined before they are planned. */
  plan: Plan | undefined;
  readonly candidates: CandidateLog;
  readonly removals: RemovalsProgress;
  readonly counts: ScanCounts;
  readonly #checkpoint: Checkpoint;
  /** `performance.now()`. */
  readonly #beganAtMs = performance.now();

  /** Begins a scan, or resumes it from a checkpoint. Must be called before any call to Stripe. */
  constructor(checkpoint: Checkpoint, state: ScanState) {
    this.#checkpoint = checkpoint;
    this.scanId = checkpoint.scanId;
    this.phase = checkpoint.phase;
    this.pages = checkpoint.pages;
    this.clocksAfter = checkpoint.clocksAfter ?? undefined;
    this.t0 = checkpoint.t0;
    this.#from = checkpoint.from ?? Infinity;
    const windows = checkpoint.windows.map((window) => Window.restore(window));
    this.plan = windows.length > 0 ? new Plan(windows) : undefined;
    this.candidates = new CandidateLog(state, checkpoint.scanId, checkpoint.candidates);
    this.removals = new RemovalsProgress(checkpoint.removals);
    this.counts = new ScanCounts(checkpoint);
  }

  /** Counts a page and takes T0 from the first one. */
  listed(page: ListedPage): void {
    this.pages += 1;
    this.disordered += page.disordered ?? 0;
    this.t0 ??= startBy(page, this.#beganAtMs);
    this.#from = Math.min(this.#from, page.observed.from.getTime());
  }

  /**
   * Undefined if it is not known, as too many objects were left out to name them all.
   * @param ofTestClocks whether the scan has listed the objects of test clocks
   */
  confirmed(ofTestClocks: boolean): Confirmed | undefined {
    const { failed, items } = this.counts.result();
    const leftOut = items.filter(({ outcome, code }) => outcome === 'failed' || code === 'not_in_account');
    if (leftOut.filter(({ outcome }) => outcome === 'failed').length < failed) return undefined;
    return { from: new Date(this.#from), leftOut: leftOut.map(({ id }) => id), ofTestClocks };
  }

  /** Objects created from this second on are settled by the catch-up alone; undefined before T0 is known. */
  get caughtUpFrom(): number | undefined {
    return this.t0 === undefined ? undefined : Math.max(0, this.t0 - catchUpSeconds);
  }

  /** A copy that does not change while it is saved. */
  snapshot(): Checkpoint {
    const { phase, pages, clocksAfter = null, t0, plan, candidates, removals, counts } = this;
    return {
      ...this.#checkpoint,
      phase,
      pages,
      clocksAfter,
      ...(t0 !== undefined && { t0 }),
      ...(pages > 0 && { from: this.#from }),
      windows: plan?.windows.map((window) => window.save()) ?? [],
      candidates: candidates.save(),
      removals: removals.save(),
      ...counts.save(),
    };
  }
}

/**
 * The list may lag behind creation by some seconds. What was created since this long before T0 is listed at
 * the end, and only what is listed then counts.
 */
const catchUpSeconds = 60;

/**
 * Stripe's clock when the scan began, in unix seconds, or slightly earlier: Stripe's time in an answer, minus
 * the time since the start. It is never later, whichever window the answer belongs to and however long it
 * took. An object that is too young for the first page of the topmost window is therefore younger than this,
 * too.
 */
const startBy = (
  { stripeTime, receivedAtMs }: Answer & { readonly stripeTime: number },
  beganAtMs: number,
): number => Math.max(0, Math.floor(stripeTime - (receivedAtMs - beganAtMs) / 1_000));

/**
 * Differs if a checkpoint has advanced: more is settled or concluded. A stolen window alone is not progress.
 * Neither is a cursor, of objects or of test clocks: round a circle of pages it moves for ever.
 */
export const reached = ({ phase, windows, removals }: Checkpoint): string =>
  JSON.stringify([
    phase,
    windows
      .filter(({ settledFrom, done }) => done || settledFrom !== null)
      .map(({ settledFrom, openIds, done }) => [settledFrom, openIds.length, done]),
    removals.after,
    removals.proven.length,
  ]);

const minSaveIntervalMs = 1_000;

export interface CheckpointerOptions<T> {
  /** A copy of the settled state, because the run continues while it is saved. */
  readonly snapshot: () => T;
  readonly save: (snapshot: T) => Promise<void>;
  /** Progress of a snapshot: the same string as long as nothing more is settled. */
  readonly reached: (snapshot: T) => string;
  /** More is saved than at the last call, or than at the creation of the checkpointer. */
  readonly onMoved: () => void;
  /** Milliseconds of a monotonic clock; `performance.now` by default. */
  readonly now?: () => number;
}

/** Saves checkpoints of a long run, at most one per second, and reports when more is saved than before. */
export class Checkpointer<T> {
  readonly #options: CheckpointerOptions<T>;
  readonly #now: () => number;
  #savedAtMs = -Infinity;
  #saving: Promise<void> | undefined;
  #reached: string;

  constructor(options: CheckpointerOptions<T>) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#reached = options.reached(options.snapshot());
  }

  /** Saves unless the last save is younger than a second or still in progress. */
  async saveSometimes(): Promise<void> {
    if (this.#saving || this.#now() - this.#savedAtMs < minSaveIntervalMs) return;
    await this.save();
  }

  /** Saves now. */
  async save(): Promise<void> {
    while (this.#saving) await this.#saving;
    const { snapshot, save, reached, onMoved } = this.#options;
    const settled = snapshot();
    this.#saving = save(settled);
    try {
      await this.#saving;
    } finally {
      this.#saving = undefined;
      this.#savedAtMs = this.#now();
    }
    const now = reached(settled);
    if (now === this.#reached) return;
    this.#reached = now;
    onMoved();
  }
}
