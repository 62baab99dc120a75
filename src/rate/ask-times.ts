// When this process asks MongoDB for slots again: so that the question arrives just as a slot can be granted. Times are of
// `performance.now()`.
import type { Turn } from './waiting-call.js';

/** Small calls ask for a slot as soon as it can be granted; scans, which can wait, about so long before it is due. */
const scansAskAheadMs = 50;
/** Lets replicas that ask at the same time take turns. */
const askJitterMs = 20;
const leastMsBetweenAsks = 5;
/** Answers may take longer; questions are not put earlier than this for it. */
const mostAnswerMs = 250;
/** After this long the question is asked again, whatever the answer was. */
const longestWaitMs = 1_000;

export class AskTimes {
  readonly #random: () => number;
  /** By priority and endpoint. */
  readonly #notBefore = new Map<string, number>();
  /** How long MongoDB takes to answer, on average. */
  #answerMs: number | undefined;

  /** @param random 0 to 1, as Math.random */
  constructor(random: () => number) {
    this.#random = random;
  }

  mayAsk(turn: Turn, now: number): boolean {
    return (this.#notBefore.get(nameOf(turn)) ?? 0) <= now;
  }

  /** When somebody who may not ask now may; at the latest in a second. */
  nextAfter(now: number): number {
    const times = [...this.#notBefore.values()].filter((time) => time > now);
    return Math.min(...times, now + longestWaitMs);
  }

  /** An answer took so long. */
  learn(ms: number): void {
    const usual = this.#answerMs ?? ms;
    this.#answerMs = Math.min(mostAnswerMs, usual + (ms - usual) * 0.2);
  }

  /** There was no slot yet: from `askAt` on, one that is due `at` can be granted. */
  postpone(turn: Turn, askAt: number, at: number, now: number): void {
    const scansAskAt = at - scansAskAheadMs + askJitterMs * (this.#random() - 0.5);
    const arriveAt = turn.priority === 'scan' ? Math.max(askAt, scansAskAt) : askAt;
    const time = Math.max(arriveAt - (this.#answerMs ?? 0), now + leastMsBetweenAsks);
    this.#notBefore.set(nameOf(turn), Math.min(time, now + longestWaitMs));
  }
}

const nameOf = ({ priority, endpoint }: Turn): string => `${priority} ${endpoint}`;

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
