// Several workers on one task: the first fault ends them all, and it is thrown once they have ended, so that nothing writes afterwards.
import { setMaxListeners } from 'node:events';

export class Crew {
  readonly #stop = new AbortController();
  /** Aborted by the caller's signal or by the first fault of any worker. */
  readonly signal: AbortSignal;

  constructor(outer: AbortSignal) {
    this.signal = AbortSignal.any([outer, this.#stop.signal]);
    // Every worker listens; how many there are is bounded by settings.
    setMaxListeners(0, this.signal);
  }

  /** Resolves when all have ended. @throws the outer signal's reason, or the first worker's fault */
  async finish(workers: readonly Promise<unknown>[]): Promise<void> {
    await Promise.all(workers.map((worker) => this.guard(worker)));
    this.signal.throwIfAborted();
  }

  /** Never rejects: a fault becomes the crew's. */
  async guard(worker: Promise<unknown>): Promise<void> {
    try {
      await worker;
    } catch (error) {
      this.#stop.abort(error);
    }
  }
}
