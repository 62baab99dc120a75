// When this process asks MongoDB for slots again: the question should arrive just as a slot can be granted.
// Times are of `performance.now()`.
import type { Turn } from './waiting-call.js';

/**
 * Small calls ask for a slot as soon as it can be granted; scans, which can wait, this long before it is due.
 */
const scansAskAheadMs = 50;
/** Spreads the questions of replicas, so that they take turns. */
const askJitterMs = 20;
const minMsBetweenAsks = 5;
/** Questions are asked at most this much earlier, also where answers take longer. */
const maxAnswerMs = 250;
/** After this long the question is asked again, whatever the answer was. */
const maxWaitMs = 1_000;

export class AskTimes {
  readonly #random: () => number;
  /** Earliest next question, by priority and endpoint. */
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

  /** When the next of those may ask that may not ask now; at the latest in a second. */
  nextAfter(now: number): number {
    const times = [...this.#notBefore.values()].filter((time) => time > now);
    return Math.min(...times, now + maxWaitMs);
  }

  /** @param ms how long an answer took */
  learn(ms: number): void {
    const usual = this.#answerMs ?? ms;
    this.#answerMs = Math.min(maxAnswerMs, usual + (ms - usual) * 0.2);
  }

  /** No slot was granted. One that is due at `at` can be granted from `askAt` on. */
  postpone(turn: Turn, askAt: number, at: number, now: number): void {
    const scansAskAt = at - scansAskAheadMs + askJitterMs * (this.#random() - 0.5);
    const arriveAt = turn.priority === 'scan' ? Math.max(askAt, scansAskAt) : askAt;
    const time = Math.max(arriveAt - (this.#answerMs ?? 0), now + minMsBetweenAsks);
    this.#notBefore.set(nameOf(turn), Math.min(time, now + maxWaitMs));
  }
}

const nameOf = ({ priority, endpoint }: Turn): string => `${priority} ${endpoint}`;

/**
 * Answers that are compared: at a full rate those of the last two seconds, in which clocks do not drift
 * apart.
 */
const comparedAnswers = 32;

/**
 * How late an answer of MongoDB came. MongoDB read the time in it when it took up the question; the network
 * or a busy process may then have delayed the answer. That delay counts as time that has passed.
 */
export class AnswerDelay {
  /** `performance.now()` at an answer less the time in it: smallest where nothing delayed the answer. */
  readonly #behind: number[] = [];

  /**
   * @param time of MongoDB's clock, in an answer
   * @param askedAt `performance.now()`, as `answeredAt`
   * @returns milliseconds that this answer was delayed more than the quickest recent one; at most the time
   *   since the question, also where MongoDB's clock was set back
   */
  learn(time: number, askedAt: number, answeredAt: number): number {
    this.#behind.push(answeredAt - time);
    if (this.#behind.length > comparedAnswers) this.#behind.shift();
    return Math.min(answeredAt - time - Math.min(...this.#behind), answeredAt - askedAt);
  }
}
