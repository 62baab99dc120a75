// Group commit: items that arrive while a command is in flight are sent together as the next one. At low load
// nothing waits; at high load one command does the work of many.
import { pause } from './waiting.js';

interface Entry<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result | PromiseLike<Result>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Processes the items of one group and returns one result per item, in order. A result may be a promise;
 * later groups do not wait for it. If `send` throws, every item of the group gets that error.
 */
export type Send<Item, Result> = (items: readonly Item[]) => Promise<readonly (Result | Promise<Result>)[]>;

/** Between two groups, in milliseconds, so that items in quick succession share a group. */
const gatherMs = 5;
/** Maximum number of items in a group; the rest go into the next group. */
const maxItems = 100;

export class GroupCommit<Item, Result> {
  readonly #waiting: Entry<Item, Result>[] = [];
  #isSending = false;
  #sentMs = -Infinity;

  constructor(private readonly send: Send<Item, Result>) {}

  /** Processes one item in a group. @throws what `send` throws, or what its result rejects with */
  run(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (this.#isSending) return;
      this.#isSending = true;
      // Deferred, so that items of the same turn of the event loop join the group.
      setImmediate(() => void this.#sendAll());
    });
  }

  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      await pause(this.#sentMs + gatherMs - performance.now());
      this.#sentMs = performance.now();
      await this.#sendGroup(this.#waiting.splice(0, maxItems));
    }
    this.#isSending = false;
  }

  async #sendGroup(group: readonly Entry<Item, Result>[]): Promise<void> {
    try {
      const results = await this.send(group.map(({ item }) => item));
      group.forEach(({ resolve, reject }, index) => {
        if (index in results) resolve(results[index] as Result | Promise<Result>);
        else reject(new Error('A group returned fewer results than it has items'));
      });
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }
}
