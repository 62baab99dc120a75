// The plan of a scan: disjoint windows of `created` that tile all time, who fetches which, and how idle fetchers steal work.
// Pure state: it neither calls Stripe nor writes.
import type { StripeId } from '../ports.js';

/** A window as a checkpoint holds it. Bounds in unix seconds, `[gte, lt)`; `lt` null is open towards the future. */
export interface WindowState {
  readonly gte: number;
  readonly lt: number | null;
  /** Every stored object at or above it is settled; null while nothing is. */
  readonly settledFrom: number | null;
  /** Last object that was settled: listing goes on after it. */
  readonly cursor: StripeId | null;
  /** Ids of the second of the cursor seen so far: more of that second may follow on the next page. */
  readonly openIds: StripeId[];
  readonly done: boolean;
}

/** One window: what it covers, how far fetching has come, and how far the mirror has followed. */
export class Window {
  gte: number;
  readonly lt: number | undefined;
  /** Upper bound of the query; moves down when the walk has to start again below rows it has seen. */
  queryLt: number | undefined;
  isOwned = false;
  /** Nothing more to fetch. */
  isFetched = false;
  /** Everything fetched is in the mirror too. */
  isDone = false;

  // How far fetching has come
  cursor: StripeId | undefined;
  /** Ids to step back to when the cursor is gone, oldest last. */
  recentIds: StripeId[] = [];
  cursorFailures = 0;
  lastCreated: number | undefined;
  /** Ids seen of the second `lastCreated`: where the walk repeats rows, these are known. */
  tail = new Set<StripeId>();
  rows = 0;
  lastPage: { rows: number; seconds: number } | undefined;

  // How far the mirror has followed
  settledFrom: number | undefined;
  settledCursor: StripeId | undefined;
  openSecond: number | undefined;
  openIds = new Set<StripeId>();

  constructor(bounds: { gte: number; lt: number | undefined }) {
    this.gte = bounds.gte;
    this.lt = bounds.lt;
    this.queryLt = bounds.lt;
    this.settledFrom = bounds.lt;
  }

  /** Takes up a window where a checkpoint left it. */
  static restore(state: WindowState): Window {
    const window = new Window({ gte: state.gte, lt: state.lt ?? undefined });
    window.isDone = window.isFetched = state.done;
    if (state.cursor !== null && state.settledFrom !== null) {
      window.cursor = window.settledCursor = state.cursor;
      window.recentIds = [state.cursor];
      window.settledFrom = state.settledFrom;
      window.lastCreated = window.openSecond = state.settledFrom - 1;
      window.tail = new Set(state.openIds);
      window.openIds = new Set(state.openIds);
    }
    return window;
  }

  save(): WindowState {
    return {
      gte: this.gte,
      lt: this.lt ?? null,
      settledFrom: this.settledCursor === undefined ? null : (this.settledFrom ?? null),
      cursor: this.settledCursor ?? null,
      openIds: [...this.openIds],
      done: this.isDone,
    };
  }

  /** Seconds that fetching has still to go; nothing is known before the first page. */
  get secondsLeft(): number {
    return this.lastCreated === undefined ? 0 : Math.max(0, this.lastCreated - this.gte);
  }

  /** Objects a second: of the last page, and of the window so far. */
  get density(): { last: number; mean: number } {
    if (!this.lastPage || this.lastCreated === undefined) return { last: 0, mean: 0 };
    const walked = (this.lt ?? this.lastCreated + this.lastPage.seconds) - this.lastCreated;
    return {
      last: this.lastPage.rows / Math.max(1, this.lastPage.seconds),
      mean: this.rows / Math.max(1, walked),
    };
  }

  /** Objects still to come, by the denser of the two densities, less the page that is on its way. */
  get estimatedLeft(): number {
    const { last, mean } = this.density;
    return Math.max(0, Math.max(last, mean) * this.secondsLeft - pageRows);
  }
}

const pageRows = 100;
/**
 * Estimated rows a window must have left to be split, besides the page that is on its way. Every window ends with a page that is half
 * empty; near the end of a scan that costs less than a rate that goes unused. Who would only be to spare splits nothing but what is large.
 */
const minStolenRows = { needed: 100, spare: 10_000 };
/** A last page so much denser than the window is an import: what is left lies near. */
const importRatio = 4;

/** Whether the rate would go unused without it. */
export type Thief = 'needed' | 'spare';

export class Plan {
  readonly windows: Window[];

  constructor(windows: readonly Window[]) {
    this.windows = [...windows];
  }

  /** A window to fetch from: one that nobody has, otherwise a part of the one with the most rows left, otherwise none for now. */
  take(thief: Thief = 'needed'): Window | undefined {
    const window =
      this.windows.find(({ isOwned, isFetched }) => !isOwned && !isFetched) ?? this.#steal(thief);
    if (window) window.isOwned = true;
    return window;
  }

  get isDone(): boolean {
    return this.windows.every(({ isDone }) => isDone);
  }

  /** Whether everything created since then, in unix seconds, is listed and in the mirror. */
  isDoneFrom(second: number): boolean {
    return this.windows.every(({ isDone, lt }) => isDone || (lt !== undefined && lt <= second));
  }

  get estimatedLeft(): number {
    return this.windows.reduce((sum, window) => sum + (window.isFetched ? 0 : window.estimatedLeft), 0);
  }

  /**
   * True when the finished windows cover `[0, ∞)` without a gap or an overlap. No conclusion about what is missing may be drawn
   * before.
   */
  get isComplete(): boolean {
    const sorted = [...this.windows].sort((a, b) => a.gte - b.gte);
    const last = sorted.at(-1);
    return (
      this.isDone &&
      sorted[0]?.gte === 0 &&
      last !== undefined &&
      last.lt === undefined &&
      sorted.every((window, index) => window === last || window.lt === sorted[index + 1]?.gte)
    );
  }

  #steal(thief: Thief): Window | undefined {
    const victims = this.windows.filter(
      ({ isFetched, estimatedLeft }) => !isFetched && estimatedLeft >= minStolenRows[thief],
    );
    const victim = victims.reduce<Window | undefined>(
      (most, window) => (!most || window.estimatedLeft > most.estimatedLeft ? window : most),
      undefined,
    );
    const cut = victim && cutOf(victim);
    if (!victim || cut === undefined) return undefined;
    const stolen = new Window({ gte: victim.gte, lt: cut });
    victim.gte = cut; // its cursor stays inside; rows below that are on their way are dropped
    this.windows.push(stolen);
    return stolen;
  }
}

/** Where to cut a window: in the middle of what is left, or near its dense end. A second is never cut. */
function cutOf(window: Window): number | undefined {
  const { lastCreated, secondsLeft, lastPage } = window;
  if (lastCreated === undefined || !lastPage) return undefined;
  const { last, mean } = window.density;
  const isImport = last > importRatio * mean;
  const kept = isImport ? Math.sqrt(Math.max(1, lastPage.seconds) * secondsLeft) : secondsLeft / 2;
  const cut = Math.floor(lastCreated - kept);
  return cut > window.gte && cut <= lastCreated ? cut : undefined;
}

/**
 * First windows of a scan that knows nothing of the account, as ages in seconds, each 0.7 of the one before: young rows are the likeliest.
 * About as many as the usual rate lets go before the first answer comes: a window that is empty costs a call, and so does a slot that nobody
 * uses. From the first page on thieves make up for what is wrong with them.
 */
const firstAges = Array.from({ length: 9 }, (_, step) => 4 * 0.7 ** step).map(
  (years) => years * 365.25 * 86_400,
);

/**
 * First windows of a scan, tiling `[0, ∞)`: cut at the quantiles of what is known of the account's spread.
 * @param count at most so many
 * @param known some values of `created`, drawn at random from the mirror
 */
export function firstWindows(count: number, known: readonly number[], now: number): Window[] {
  const sorted = [...known].sort((a, b) => a - b);
  const cuts =
    sorted.length === 0
      ? firstAges.map((age) => Math.floor(now - age)).slice(0, count - 1)
      : Array.from(
          { length: count - 1 },
          (_, index) => sorted[Math.floor(((index + 1) / count) * sorted.length)] ?? 0,
        );
  const bounds = [0, ...new Set(cuts.filter((cut) => cut > 0))];
  return bounds.map((gte, index) => new Window({ gte, lt: bounds[index + 1] })).reverse();
}
