// What a person reads of a run: how far, how fast lately, how long still.
import { expect, test } from 'vitest';
import { ProgressMeter } from '../../src/requests/attempt.js';

/** Reports one a second from `from` to `to` seconds. */
function feed(
  meter: ProgressMeter,
  from: number,
  to: number,
  at: (second: number) => { done: number; estimated?: number; ratio?: number },
) {
  for (let second = from; second <= to; second += 1) {
    const { done, estimated, ratio } = at(second);
    meter.report({ done, estimated, ratio }, second * 1_000);
  }
}

test('nothing is known before the first report', () => {
  expect(new ProgressMeter().current(0)).toBeUndefined();
});

test('counts alone tell neither ratio nor time', () => {
  const meter = new ProgressMeter();
  feed(meter, 0, 10, (second) => ({ done: second * 30 }));

  expect(meter.current(10_000)).toEqual({ done: 300, perSecond: 30 });
});

test('an estimate tells ratio, speed and time left', () => {
  const meter = new ProgressMeter();
  feed(meter, 0, 10, (second) => ({ done: second * 10, estimated: 400 }));

  expect(meter.current(10_000)).toEqual({
    done: 100,
    estimated: 400,
    ratio: 0.25,
    perSecond: 10,
    etaSeconds: 30,
  });
});

test('a scan that goes on where another stopped is not taken for a fast one', () => {
  const meter = new ProgressMeter();
  feed(meter, 0, 10, (second) => ({ done: 50_000 + second * 10, ratio: 0.5 + second * 0.01 }));

  expect(meter.current(10_000)).toMatchObject({ perSecond: 10, etaSeconds: 40 });
});

test('speed is that of the last half minute', () => {
  const meter = new ProgressMeter();
  feed(meter, 0, 100, (second) => ({ done: second * 1_000 }));
  feed(meter, 101, 140, (second) => ({ done: 100_000 + (second - 100) * 10 }));

  expect(meter.current(140_000)?.perSecond).toBe(10);
});

test('a ratio stays between 0 and 1, and nothing is ever negative or endless', () => {
  const meter = new ProgressMeter();
  meter.report({ done: 500, estimated: 100, ratio: undefined }, 0);
  expect(meter.current(1_000)).toEqual({ done: 500, estimated: 100, ratio: 1, perSecond: 0 });
  meter.report({ done: 10, estimated: 0, ratio: NaN }, 2_000);
  expect(meter.current(2_000)).toEqual({ done: 10, estimated: 0, perSecond: 0 });
});
