// How much later than others an answer of MongoDB came, after the time that stands in it.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AnswerDelay } from '../../src/rate/ask-times.js';

/** MongoDB's clock, here in milliseconds since this process began, plus this. */
const epoch = 1.7e12;

/** Questions that MongoDB takes up and answers after so many milliseconds, one after the other. */
function delaysOf(answers: readonly { before: number; after: number; setBack?: number }[]): number[] {
  const delay = new AnswerDelay();
  let now = 1_000;
  return answers.map(({ before, after, setBack = 0 }) => {
    const askedAt = now;
    const takenUpAt = askedAt + before;
    now = takenUpAt + after;
    return delay.learn(epoch + takenUpAt - setBack, askedAt, now);
  });
}

describe('how late an answer is', () => {
  test('is told by the quickest', () => {
    expect(delaysOf([1, 1, 61, 1].map((after) => ({ before: 1, after })))).toEqual([0, 0, 60, 0]);
  });

  test('does not count the time before MongoDB took up the question', () => {
    expect(delaysOf([1, 61, 1].map((before) => ({ before, after: 1 })))).toEqual([0, 0, 0]);
  });

  test('is never more than since it was asked for, whatever happens to the clock', () => {
    const answer = fc.record({
      before: fc.nat(200),
      after: fc.nat(200),
      setBack: fc.integer({ min: -100_000, max: 100_000 }),
    });
    fc.assert(
      fc.property(fc.array(answer), (answers) => {
        delaysOf(answers).forEach((late, index) => {
          const { before, after } = answers[index]!;
          expect(late).toBeGreaterThanOrEqual(0);
          expect(late).toBeLessThanOrEqual(before + after + 0.001);
        });
      }),
    );
  });

  test('forgets a clock that was set back', () => {
    const answers = Array.from({ length: 100 }, (_, index) => ({
      before: 1,
      after: 1,
      setBack: index < 50 ? 0 : 5_000,
    }));

    const delays = delaysOf(answers);

    expect(delays[50]).toBe(2);
    expect(delays.at(-1)).toBe(0);
  });
});
