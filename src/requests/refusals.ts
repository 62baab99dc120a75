// Requests that MongoDB refuses to update, for whatever reason: left alone for a while, so that they stand in nobody's way.
import { mongo } from 'mongoose';
import { isFault } from '../errors.js';
import type { Logger } from '../logger.js';
import { isPassing } from '../mongo-faults.js';
import type { RequestId } from './document.js';

/** How long one is left alone. */
const refusedForMs = 60_000;
/** More than so many of them are no fault of theirs. */
const maxRefused = 100;

/** A request's id as a key: users choose the type of `_id`. */
export const keyOf = (id: RequestId): string => mongo.BSON.EJSON.stringify({ id });

export class Refusals {
  readonly #refused = new Map<string, { readonly id: RequestId; readonly untilMs: number }>();

  constructor(private readonly logger: Logger) {}

  /** To be left alone for now. */
  ids(): readonly RequestId[] {
    for (const [key, { untilMs }] of this.#refused)
      if (untilMs < performance.now()) this.#refused.delete(key);
    return [...this.#refused.values()].map(({ id }) => id);
  }

  /** What the step gives; undefined where MongoDB refuses it for this request alone. @throws what is no fault of the request */
  async unless<T>(id: RequestId, step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step();
    } catch (error) {
      if (isPassing(error) || isFault(error) || this.#refused.size >= maxRefused) throw error;
      this.#refused.set(keyOf(id), { id, untilMs: performance.now() + refusedForMs });
      this.logger.error({ err: error, requestId: id }, 'MongoDB refuses to update a request');
      return undefined;
    }
  }
}
