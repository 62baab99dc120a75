// Turns a run's reports into the progress that a person reads: how fast lately, and how long still.
import type { Progress } from '../sync/outcome.js';
import type { StoredProgress } from './document.js';

interface Report {
  readonly atMs: number;
  readonly done: number;
  readonly ratio: number | undefined;
}

/** Speed is that of the last half minute. */
const windowMs = 30_000;
/** Speed of a shorter time says nothing. */
const shortestMs = 500;

/** Keeps the reports of one run. A resumed scan begins with what was done before, which is no speed of this run. */
export class ProgressMeter {
  #reports: Report[] = [];
  #latest: Progress | undefined;

  /** `nowMs` is monotonic. */
  report(progress: Progress, nowMs: number): void {
    this.#latest = progress;
    const last = this.#reports.at(-1);
    // One a second is enough to tell the speed, and bounds what is kept.
    if (last && nowMs - last.atMs < 1_000) return;
    this.#reports.push({ atMs: nowMs, done: progress.done, ratio: ratioOf(progress) });
    while (this.#reports.length > 2 && nowMs - (this.#reports[1]?.atMs ?? nowMs) > windowMs)
      this.#reports.shift();
  }

  /** As it is stored, without the time; undefined before the first report. */
  current(nowMs: number): Omit<StoredProgress, 'updatedAt'> | undefined {
    if (!this.#latest) return undefined;
    const { done, estimated } = this.#latest;
    const ratio = ratioOf(this.#latest);
    const since = this.#reports[0];
    const seconds = since ? (nowMs - since.atMs) / 1_000 : 0;
    const hasSpeed = since !== undefined && seconds * 1_000 >= shortestMs;
    const perSecond = hasSpeed ? Math.max(0, (done - since.done) / seconds) : undefined;
    const ratioPerSecond = hasSpeed && ratio !== undefined ? (ratio - (since.ratio ?? 0)) / seconds : 0;
    return {
      done,
      ...(estimated !== undefined && { estimated }),
      ...(ratio !== undefined && { ratio: rounded(ratio, 4) }),
      ...(perSecond !== undefined && { perSecond: rounded(perSecond, 1) }),
      ...(ratio !== undefined &&
        ratioPerSecond > 0 && { etaSeconds: Math.round((1 - ratio) / ratioPerSecond) }),
    };
  }
}

/** 0 to 1: the run's own ratio, otherwise that of the counts. */
export function ratioOf({ done, estimated, ratio }: Progress): number | undefined {
  const known = ratio ?? (estimated !== undefined && estimated > 0 ? done / estimated : undefined);
  return known === undefined || Number.isNaN(known) ? undefined : Math.min(1, Math.max(0, known));
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
