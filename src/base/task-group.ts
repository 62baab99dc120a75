// Several workers on one task: the first fault ends them all, and it is thrown once they have ended, so that nothing writes afterwards.
import { setMaxListeners } from 'node:events';

export class Crew {
  readonly #stop = new AbortController();
  readonly #follow = (): void => this.#stop.abort(this.outer.reason);

  /** @param outer of the whole task: it is listened to until `finish`, or as long as it lives */
  constructor(private readonly outer: AbortSignal) {
    // Several crews may follow one task, and every worker of a crew listens; how many there are is bounded by settings.
    setMaxListeners(0, outer, this.signal);
    // Not by AbortSignal.any: what that makes is kept, with all that it leads to, until a full garbage collection.
    if (outer.aborted) this.#follow();
    else outer.addEventListener('abort', this.#follow, { once: true });
  }

  /** Aborted by the caller's signal or by the first fault of any worker. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Resolves when all have ended. @throws the outer signal's reason, or the first worker's fault */
  async finish(workers: readonly Promise<unknown>[]): Promise<void> {
    await Promise.all(workers.map((worker) => this.guard(worker)));
    this.outer.removeEventListener('abort', this.#follow);
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
