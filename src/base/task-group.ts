// Several workers on one task. The first fault stops all of them. It is thrown only after all have ended, so
// nothing writes afterwards.
import { setMaxListeners } from 'node:events';

export class TaskGroup {
  readonly #stop = new AbortController();
  readonly #follow = (): void => this.#stop.abort(this.outer.reason);

  /** @param outer signal of the whole task; the group listens to it until `finish` */
  constructor(private readonly outer: AbortSignal) {
    // Several groups may follow one signal, and every worker listens. Settings bound how many.
    setMaxListeners(0, outer, this.signal);
    // Not AbortSignal.any: its signals, and everything they refer to, stay in memory until a full garbage
    // collection.
    if (outer.aborted) this.#follow();
    else outer.addEventListener('abort', this.#follow, { once: true });
  }

  /** Aborted with the outer signal, or by the first fault of a worker. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Resolves when all have ended. @throws the outer signal's reason, or the first worker's fault */
  async finish(workers: readonly Promise<unknown>[]): Promise<void> {
    await Promise.all(workers.map((worker) => this.guard(worker)));
    this.outer.removeEventListener('abort', this.#follow);
    this.signal.throwIfAborted();
  }

  /** Never rejects: a fault becomes the group's. */
  async guard(worker: Promise<unknown>): Promise<void> {
    try {
      await worker;
    } catch (error) {
      this.#stop.abort(error);
    }
  }
}
