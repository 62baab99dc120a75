// Stamps every batch with its change event. One replica at a time follows the stream of insertions, by a
// lease in the state. The place that it has come to is stored there only after its stamps are acknowledged.
// A restart or a takeover therefore loses none, also of those that were inserted while no daemon ran.
import { pause } from '../../base/waiting.js';
import { secondOfToken } from '../../mongo/change-stream.js';
import { clusterSecond } from '../../mongo/clock.js';
import { toMongoFault } from '../../mongo/faults.js';
import type { HeldFollowLease } from './insertion-state.js';
import { InsertionStream, type InsertionStreamOptions, type StreamState } from './insertion-stream.js';

/** How often a replica asks for the lease that another one holds. */
const askEveryMs = 1_000;
/** A history that is lost sooner is the same fault as before, which has been told. */
const inARowMs = 60_000;

export class InsertionFollower {
  readonly #options: InsertionStreamOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #hasToldFault = false;

  constructor(options: InsertionStreamOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Releases the lease. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { state, seals } = this.#options;
    let isPossible = true;
    while (isPossible && !signal.aborted) {
      try {
        await seals.load();
        const lease = await state.acquire();
        if (lease) isPossible = await this.#holding(lease);
        this.#hasToldFault = false;
      } catch (error) {
        this.#tellFault(error);
      }
      if (isPossible) await pause(askEveryMs, signal);
    }
  }

  /** Follows until the lease is lost or the process stops. False: this server has no change streams. */
  async #holding(lease: HeldFollowLease): Promise<boolean> {
    const { state } = this.#options;
    let end: StreamState = 'open';
    try {
      let from: unknown = await this.#usable(lease.position);
      for (let losses = 0; ;) {
        const beganMs = performance.now();
        const following = new InsertionStream(this.#options, lease, { from, losses }, this.#stopping.signal);
        end = await following.run();
        if (end !== 'lost') return end !== 'impossible';
        from = undefined;
        losses = performance.now() - beganMs > inARowMs ? 0 : losses + 1;
        if (!(await pause(askEveryMs, this.#stopping.signal))) return true;
      }
    } finally {
      // It expires soon.
      await state.release(lease, { isForOthers: end !== 'impossible' }).catch(() => undefined);
    }
  }

  /**
   * The position, unless it lies ahead of the server: a restored backup begins a new history. A stream from
   * there would wait, without an error, until the server comes to it.
   */
  async #usable(position: unknown): Promise<unknown> {
    const second = secondOfToken(position);
    if (second === undefined) return position; // the server judges it
    const now = await clusterSecond(this.#options.database.db);
    if (now === undefined || second <= now) return position;
    this.#options.logger.warn(
      'The stored place in the stream of insertions lies in the future; starting anew',
    );
    return undefined;
  }

  #tellFault(error: unknown): void {
    if (!this.#hasToldFault && !this.#stopping.signal.aborted) {
      const { logger } = this.#options;
      logger.warn(
        { err: toMongoFault(error, 'storing it') },
        'The order of insertions cannot be stored; trying again',
      );
    }
    this.#hasToldFault = true;
  }
}
