// Which writes MongoDB refuses at present as a whole: not for what a document holds, but for a missing right,
// a view, a block of writes, a full disk. Each part that writes tells of it, for a metric.

/** `mirror`: the mirrored objects. `requests`: sync_requests. `state`: sync_state. */
export const writtenParts = ['mirror', 'requests', 'state'] as const;
export type WrittenPart = (typeof writtenParts)[number];

export interface WritesObserver {
  /** MongoDB refused a write of this part as a whole. */
  writesRefused(part: WrittenPart): void;
  /** MongoDB took a write of this part. */
  writesAccepted(part: WrittenPart): void;
}

/** A refusal counts for this long at most where nothing is written any more. */
const believedForMs = 3_600_000;

/** The parts whose last write was refused, within the last hour. */
export class RefusedWrites implements WritesObserver {
  readonly #refusedAtMs = new Map<WrittenPart, number>();

  /** @param now milliseconds of a monotonic clock */
  constructor(private readonly now: () => number = () => performance.now()) {}

  writesRefused(part: WrittenPart): void {
    this.#refusedAtMs.set(part, this.now());
  }

  writesAccepted(part: WrittenPart): void {
    this.#refusedAtMs.delete(part);
  }

  has(part: WrittenPart): boolean {
    const atMs = this.#refusedAtMs.get(part);
    return atMs !== undefined && this.now() - atMs < believedForMs;
  }
}
