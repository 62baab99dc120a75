// Keeps the checkpoint of a running scan current, at most one write a second.
import type { Tally } from '../outcome.js';
import type { Plan } from './plan.js';
import type { Checkpoint, ScanState } from './state.js';

const minIntervalMs = 1_000;

export class Checkpointer {
  #savedAtMs = 0;
  #saving: Promise<void> | undefined;

  constructor(
    private readonly state: ScanState,
    private readonly runId: string,
    /** The living checkpoint; its result is filled in at each save. */
    readonly checkpoint: Checkpoint,
    private readonly tally: Tally,
    private readonly onSaved: () => void,
  ) {}

  /** Saves unless the last save is younger than a second or still under way. */
  async saveSometimes(plan?: Plan): Promise<void> {
    if (this.#saving || performance.now() - this.#savedAtMs < minIntervalMs) return;
    await this.save(plan);
  }

  /** Saves now, with the plan's windows where one is given. What is saved is settled in the mirror already. */
  async save(plan?: Plan): Promise<void> {
    await this.#saving;
    if (plan) this.checkpoint.windows = plan.windows.map((window) => window.save());
    this.checkpoint.result = this.tally.result();
    this.#saving = this.state.save(this.runId, this.checkpoint);
    try {
      await this.#saving;
    } finally {
      this.#saving = undefined;
      this.#savedAtMs = performance.now();
    }
    this.onSaved();
  }
}
