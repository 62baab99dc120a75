// Keeps what is settled of a long run safe, at most one write a second, and tells when more of it is safe than before.

const minIntervalMs = 1_000;

export interface CheckpointerOptions<T> {
  /** What is settled now: a copy, as the run goes on while it is saved. */
  readonly snapshot: () => T;
  readonly save: (snapshot: T) => Promise<void>;
  /** How far a snapshot has come: the same as long as nothing more is settled. */
  readonly reached: (snapshot: T) => string;
  /** More is safe than at the last call, or than when this was made. */
  readonly onMoved: () => void;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
}

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

  /** Saves unless the last save is younger than a second or still under way. */
  async saveSometimes(): Promise<void> {
    if (this.#saving || this.#now() - this.#savedAtMs < minIntervalMs) return;
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
