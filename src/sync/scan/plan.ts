// The plan of a scan: disjoint windows of `created` that cover all time, who fetches which, and how idle
// fetchers steal work. Pure state: no call to Stripe, no write.
import type { StripeId } from '../ports.js';
import type { WindowState } from './state.js';

/** One window: what it covers, how far it is fetched, and how far it is in the mirror. */
export class Window {
  gte: number;
  readonly lt: number | undefined;
  /** Lists the objects of this test clock; these have no bounds of `created`. */
  readonly testClock: string | undefined;
  /** Upper bound of the query; moves down if the walk starts again below rows that it has seen. */
  queryLt: number | undefined;
  isOwned = false;
  /** Nothing more to fetch. */
  isFetched = false;
  /** Everything fetched is in the mirror too. */
  isDone = false;

  // Fetching
  cursor: StripeId | undefined;
  /** Ids to step back to if the cursor is gone, oldest last. */
  recentIds: StripeId[] = [];
  cursorFailures = 0;
  /**
   * One earlier cursor, by which a circle of pages is found (Brent's algorithm): after 1, 2, 4 … pages the
   * cursor of then takes its place.
   */
  anchor: { readonly cursor: StripeId; readonly pages: number; readonly forPages: number } | undefined;
  /** Ids of the page listed last, to recognize rows that the walk repeats after a step back. */
  lastPageIds = new Set<StripeId>();
  /** False after a row out of order: nothing is concluded missing in such a window. */
  isOrdered = true;
  lastCreated: number | undefined;
  /** Ids seen of the second `lastCreated`, to recognize rows that the walk repeats. */
  tail = new Set<StripeId>();
  rows = 0;
  lastPage: { rows: number; seconds: number } | undefined;

  // Settled in the mirror
  settledFrom: number | undefined;
  settledCursor: StripeId | undefined;
  openSecond: number | undefined;
  openIds = new Set<StripeId>();

  constructor(bounds: { gte: number; lt: number | undefined; testClock?: string }) {
    this.gte = bounds.gte;
    this.lt = bounds.lt;
    this.testClock = bounds.testClock;
    this.queryLt = bounds.lt;
    this.settledFrom = bounds.lt;
  }

  /** Continues a window where a checkpoint left it. */
  static restore(state: WindowState): Window {
    const window = new Window({ gte: state.gte, lt: state.lt ?? undefined });
    window.isDone = window.isFetched = state.done;
    if (state.cursor !== null && state.settledFrom !== null) {
      window.cursor = window.settledCursor = state.cursor;
      window.recentIds = [state.cursor];
      window.isOrdered = state.isOrdered ?? true;
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
      ...(!this.isOrdered && { isOrdered: false }),
    };
  }

  /** Seconds that are still to be fetched; 0 before the first page. */
  get secondsLeft(): number {
    return this.lastCreated === undefined ? 0 : Math.max(0, this.lastCreated - this.gte);
  }

  /** Objects per second of `created`: on the last page, and in the window so far. */
  get density(): { last: number; mean: number } {
    if (!this.lastPage || this.lastCreated === undefined) return { last: 0, mean: 0 };
    const walked = (this.lt ?? this.lastCreated + this.lastPage.seconds) - this.lastCreated;
    return {
      last: this.lastPage.rows / Math.max(1, this.lastPage.seconds),
      mean: this.rows / Math.max(1, walked),
    };
  }

  /** Objects still to come by the higher of the two densities, less the page in flight. */
  get estimatedLeft(): number {
    const { last, mean } = this.density;
    return Math.max(0, Math.max(last, mean) * this.secondsLeft - pageRows);
  }
}

const pageRows = 100;
/**
 * Minimum estimated rows that a window must have left to be split, besides the page in flight. Every window
 * ends with a half-empty page. Near the end of a scan that costs less than an unused rate. A spare fetcher
 * splits only large windows.
 */
const minStolenRows = { needed: 100, spare: 10_000 };
/**
 * If the last page is denser than the window by this factor, it belongs to an import: most of the rest is
 * close to it.
 */
const importRatio = 4;

/** `needed`: part of the rate would go unused without this fetcher. */
export type Thief = 'needed' | 'spare';

export class Plan {
  readonly windows: Window[];

  constructor(windows: readonly Window[]) {
    this.windows = [...windows];
  }

  /**
   * A window to fetch: one without an owner, else part of the one with the most rows left, else none for now.
   */
  take(thief: Thief = 'needed'): Window | undefined {
    const window =
      this.windows.find(({ isOwned, isFetched }) => !isOwned && !isFetched) ?? this.#steal(thief);
    if (window) window.isOwned = true;
    return window;
  }

  get isDone(): boolean {
    return this.windows.every(({ isDone }) => isDone);
  }

  get estimatedLeft(): number {
    return this.windows.reduce((sum, window) => sum + (window.isFetched ? 0 : window.estimatedLeft), 0);
  }

  /**
   * True if the finished windows cover `[0, ∞)` without gap or overlap. Before that, no object may be
   * concluded missing.
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
    victim.gte = cut; // its cursor stays inside; rows in flight below the cut are dropped
    this.windows.push(stolen);
    return stolen;
  }
}

/** Where to cut a window: in the middle of the rest, or near its dense end. A second is never split. */
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
 * First cuts of a scan without knowledge of the account, as ages in seconds. Each is 0.7 of the previous one,
 * because most accounts have more young rows. There are about as many windows as calls before the first
 * answer: an empty window costs one call, and so does an unused slot. From the first page on, stealing
 * corrects the cuts.
 */
const firstAges = Array.from({ length: 9 }, (_, step) => 4 * 0.7 ** step).map(
  (years) => years * 365.25 * 86_400,
);

/**
 * First windows of a scan, covering `[0, ∞)`, cut at the quantiles of `known`.
 * @param count most windows
 * @param known a random sample of `created` in the mirror; may be empty
 * @param now unix seconds
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
