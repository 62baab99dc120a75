// How late an answer of MongoDB came. A time in it was read when MongoDB took up the question, however long it, the network or this process,
// busy with something else, then took: what is to happen so long after that time must not wait for as long again.

/** Answers that are compared: at a full rate those of the last second or two, so that the clocks have no time to drift apart. */
const compared = 32;

export class AnswerDelay {
  /** `performance.now()` at an answer less the time in it: smallest where nothing held the answer up. */
  readonly #behind: number[] = [];

  /**
   * @param time of MongoDB's clock, in an answer
   * @param askedAt `performance.now()`, as `answeredAt`
   * @returns by how many milliseconds more than the quickest one of late this answer was held up after `time`; at most since it was asked
   *   for, also where MongoDB's clock was set back
   */
  learn(time: number, askedAt: number, answeredAt: number): number {
    this.#behind.push(answeredAt - time);
    if (this.#behind.length > compared) this.#behind.shift();
    return Math.min(answeredAt - time - Math.min(...this.#behind), answeredAt - askedAt);
  }
}
