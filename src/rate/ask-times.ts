// When this process next asks MongoDB for slots: the question should arrive exactly when a slot can be
// granted. All times are `performance.now()`.
import type { Turn } from './waiting-call.js';

/**
 * Small calls ask for a slot as soon as it can be granted. Scans can wait: they ask this long before the slot
 * is due.
 */
const scansAskAheadMs = 50;
/** Spreads the questions of replicas, so that they take turns. */
const askJitterMs = 20;
const minMsBetweenAsks = 5;
/** Maximum lead of a question, even if answers take longer. */
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

  /** When the next waiting call may ask; at most a second from now. */
  nextAfter(now: number): number {
    const times = [...this.#notBefore.values()].filter((time) => time > now);
    return Math.min(...times, now + maxWaitMs);
  }

  /** @param ms how long an answer took */
  learn(ms: number): void {
    const usual = this.#answerMs ?? ms;
    this.#answerMs = Math.min(maxAnswerMs, usual + (ms - usual) * 0.2);
  }

  /** Records that no slot was granted. A slot that is due at `at` can be granted from `askAt` on. */
  postpone(turn: Turn, askAt: number, at: number, now: number): void {
    const scansAskAt = at - scansAskAheadMs + askJitterMs * (this.#random() - 0.5);
    const arriveAt = turn.priority === 'scan' ? Math.max(askAt, scansAskAt) : askAt;
    const time = Math.max(arriveAt - (this.#answerMs ?? 0), now + minMsBetweenAsks);
    this.#notBefore.set(nameOf(turn), Math.min(time, now + maxWaitMs));
  }
}

const nameOf = ({ priority, endpoint }: Turn): string => `${priority} ${endpoint}`;

/** Number of answers to compare. At a full rate they span two seconds, in which clocks do not drift apart. */
const comparedAnswers = 32;

/**
 * How late an answer of MongoDB came. MongoDB reads the time when it starts on the question. The network or a
 * busy process may delay the answer afterwards. That delay counts as elapsed time.
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
