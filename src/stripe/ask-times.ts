// When this process asks MongoDB for slots again: so that the question arrives just as a slot can be granted. Times are of
// `performance.now()`.
import type { Turn } from './want.js';

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
