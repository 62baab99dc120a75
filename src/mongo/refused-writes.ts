// Which writes MongoDB refuses at present as a whole: not for what a document holds, but for a missing right,
// a view, a block of writes, a full disk. Each part that writes tells of it, for a metric.

/** `mirror`: the mirrored objects. `requests`, `state`: the collections of those. */
export const writtenParts = ['mirror', 'requests', 'state'] as const;
export type WrittenPart = (typeof writtenParts)[number];

export interface WritesObserver {
  /** MongoDB refused a write of this part as a whole. */
  writesRefused(part: WrittenPart): void;
  /** MongoDB took a write of this part. */
  writesAccepted(part: WrittenPart): void;
}

/** A refusal counts for this long at least: while updates are refused, inserts may be taken in between. */
const shownForMs = 60_000;
/** It counts for this long at most where nothing is written any more. */
const believedForMs = 3_600_000;

interface Refused {
  atMs: number;
  isOver: boolean;
}

/** The parts whose writes are refused: within the last minute, or the last one, within the last hour. */
export class RefusedWrites implements WritesObserver {
  readonly #refused = new Map<WrittenPart, Refused>();

  /** @param now milliseconds of a monotonic clock */
  constructor(private readonly now: () => number = () => performance.now()) {}

  writesRefused(part: WrittenPart): void {
    this.#refused.set(part, { atMs: this.now(), isOver: false });
  }

  writesAccepted(part: WrittenPart): void {
    const refused = this.#refused.get(part);
    if (refused) refused.isOver = true;
  }

  has(part: WrittenPart): boolean {
    const refused = this.#refused.get(part);
    if (!refused) return false;
    return this.now() - refused.atMs < (refused.isOver ? shownForMs : believedForMs);
  }
}
