// Group commit: what is asked for while a command is under way goes out together as the next one. Where little happens nothing waits; where
// much does, one command does the work of many.
import { pause } from './waiting.js';

interface Entry<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result | PromiseLike<Result>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Does the items of one group, and gives what became of each, in order: at once, or as a promise on which no later group waits.
 * What it throws is thrown to all of them.
 */
export type Send<Item, Result> = (items: readonly Item[]) => Promise<readonly (Result | Promise<Result>)[]>;

/** Between two groups, in milliseconds: what comes one after the other finds each other, too. */
const gatherMs = 5;
/** Most items of one group; what is beyond goes with the next. */
const maxItems = 100;

export class GroupCommit<Item, Result> {
  readonly #waiting: Entry<Item, Result>[] = [];
  #isSending = false;
  #sentMs = -Infinity;

  constructor(private readonly send: Send<Item, Result>) {}

  /** Does one item with others. @throws what `send` throws, or gives for it */
  run(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (this.#isSending) return;
      this.#isSending = true;
      // Not at once: what is asked for in this turn of the event loop goes along.
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
        else reject(new Error('A group gave fewer results than it has items'));
      });
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }
}
