// Slots of a cron expression: the same from every replica, each exactly once, whatever the clocks of its time zone do.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CronSlots, validateSchedule } from '../../src/schedule/slots.js';

const utc = (text: string): Date => new Date(`${text}Z`);
const texts = (dates: readonly Date[]): string[] => dates.map((date) => date.toISOString().slice(0, 16));

describe('a daily slot', () => {
  test('comes once on the day when clocks go forward over it, at the moment they do', () => {
    const berlin = new CronSlots('30 2 * * *', 'Europe/Berlin');
    const newYork = new CronSlots('30 2 * * *', 'America/New_York');

    expect(texts(berlin.next(3, utc('2026-03-27T12:00')))).toEqual([
      '2026-03-28T01:30',
      '2026-03-29T01:00',
      '2026-03-30T00:30',
    ]);
    expect(texts(newYork.next(3, utc('2026-03-06T12:00')))).toEqual([
      '2026-03-07T07:30',
      '2026-03-08T07:00',
      '2026-03-09T06:30',
    ]);
  });

  test('comes once on the day when clocks go back over it, the first time', () => {
    const berlin = new CronSlots('30 2 * * *', 'Europe/Berlin');
    const newYork = new CronSlots('30 1 * * *', 'America/New_York');

    expect(texts(berlin.next(3, utc('2026-10-23T12:00')))).toEqual([
      '2026-10-24T00:30',
      '2026-10-25T00:30',
      '2026-10-26T01:30',
    ]);
    expect(texts(newYork.next(3, utc('2026-10-30T12:00')))).toEqual([
      '2026-10-31T05:30',
      '2026-11-01T05:30',
      '2026-11-02T06:30',
    ]);
  });

  test('stays at its hour on the wall', () => {
    const slots = new CronSlots('0 3 * * *', 'America/New_York');

    expect(slots.latest(utc('2026-07-01T07:00'))).toEqual(utc('2026-07-01T07:00'));
    expect(slots.latest(utc('2026-07-01T06:59:59'))).toEqual(utc('2026-06-30T07:00'));
    expect(slots.latest(utc('2026-12-01T08:00'))).toEqual(utc('2026-12-01T08:00'));
  });
});

test('a slot every quarter of an hour comes every quarter of an hour, clocks or no clocks', () => {
  for (const start of ['2026-03-28T22:00', '2026-10-24T22:00']) {
    const slots = new CronSlots('*/15 * * * *', 'Europe/Berlin').next(40, utc(start));
    const gaps = slots.slice(1).map((slot, index) => slot.getTime() - slots[index]!.getTime());

    expect(new Set(gaps)).toEqual(new Set([15 * 60_000]));
  }
});

test('days are judged as node-cron does: names, last days, weekdays, nicknames, seconds', () => {
  const first = (expression: string): string =>
    new CronSlots(expression, 'UTC').next(1, utc('2026-01-15T12:00'))[0]!.toISOString();

  expect(first('0 0 L * *')).toBe('2026-01-31T00:00:00.000Z');
  expect(first('0 0 * * 5L')).toBe('2026-01-30T00:00:00.000Z');
  expect(first('0 0 * * mon#1')).toBe('2026-02-02T00:00:00.000Z');
  expect(first('0 0 1W aug *')).toBe('2026-08-03T00:00:00.000Z');
  expect(first('@monthly')).toBe('2026-02-01T00:00:00.000Z');
  expect(first('15,45 * * * * *')).toBe('2026-01-15T12:00:15.000Z');
  expect(first('0 0 29 2 *')).toBe('2028-02-29T00:00:00.000Z');
});

/** Zones whose clocks change by an hour, by half an hour, at midnight, never, and for a whole day. */
const changes = [
  ['Europe/Berlin', '2026-03-29T01:00'],
  ['Europe/Berlin', '2026-10-25T01:00'],
  ['America/New_York', '2026-03-08T07:00'],
  ['America/New_York', '2026-11-01T06:00'],
  ['Australia/Lord_Howe', '2026-04-04T15:00'],
  ['Australia/Lord_Howe', '2026-10-03T15:30'],
  ['America/Sao_Paulo', '2018-11-04T03:00'],
  ['America/Sao_Paulo', '2018-02-18T02:00'],
  ['Asia/Kolkata', '2026-06-01T00:00'],
  ['Pacific/Apia', '2011-12-30T10:00'],
] as const;

const list = (max: number) => fc.uniqueArray(fc.integer({ min: 0, max }), { minLength: 1, maxLength: 4 });
const hours = fc.oneof(
  fc.constant('*'),
  list(23).map((values) => values.join(',')),
  fc.constantFrom('0-3', '*/2', '23,0'),
);
const minutes = fc.oneof(
  list(59).map((values) => values.join(',')),
  fc.constantFrom('0', '*/20', '*/7'),
);

test('slots are those that a walk over every minute finds', () => {
  fc.assert(
    fc.property(fc.constantFrom(...changes), minutes, hours, ([zone, change], minute, hour) => {
      const from = utc(change).getTime() / 1_000 - 40 * 3_600;
      const to = from + 80 * 3_600;
      const expected = walk(zone, minute, hour, from, to);
      const slots = new CronSlots(`${minute} ${hour} * * *`, zone);

      const found = slots
        .next(expected.length + 1, new Date(from * 1_000))
        .map((slot) => slot.getTime() / 1_000);
      expect(found.filter((slot) => slot <= to)).toEqual(expected);

      // One that has answered before, and one that answers for the first time.
      for (let at = expected[0] ?? to; at <= to; at += 17 * 60 + 13) {
        const latest = expected.findLast((slot) => slot <= at);
        expect(slots.latest(new Date(at * 1_000))?.getTime()).toBe(latest! * 1_000);
      }
      for (let at = expected[0] ?? to; at <= to; at += 19 * 3_600 + 13) {
        const latest = new CronSlots(`${minute} ${hour} * * *`, zone).latest(new Date(at * 1_000));
        expect(latest?.getTime()).toBe(expected.findLast((slot) => slot <= at)! * 1_000);
      }
    }),
    { numRuns: 40 },
  );
});

/** By the definition: what each minute reads on the wall. A time that no minute reads counts when the clocks jump over it. */
function walk(zone: string, minute: string, hour: string, from: number, to: number): number[] {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' });
  const [minutesAllowed, hoursAllowed] = [allowed(minute, 60), allowed(hour, 24)];
  const isAllowed = (wall: number): boolean =>
    minutesAllowed.has(wall % 60) && hoursAllowed.has(Math.floor(wall / 60) % 24);
  const found = new Set<number>();
  let highest = -Infinity;
  for (let at = from - 26 * 3_600; at <= to; at += 60) {
    const wall = Date.parse(`${format.format(at * 1_000).replace(' ', 'T')}Z`) / 60_000;
    const isRepeated = wall <= highest;
    if (hoursAllowed.size === 24) {
      if (isAllowed(wall)) found.add(at);
    } else if (!isRepeated) {
      const first = highest === -Infinity ? wall : highest + 1;
      for (let passed = first; passed <= wall; passed += 1) if (isAllowed(passed)) found.add(at);
    }
    highest = Math.max(highest, wall);
  }
  return [...found].filter((at) => at > from);
}

function allowed(field: string, size: number): Set<number> {
  const all = Array.from({ length: size }, (_, value) => value);
  if (field === '*') return new Set(all);
  const step = /^\*\/(\d+)$/.exec(field)?.[1];
  if (step !== undefined) return new Set(all.filter((value) => value % Number(step) === 0));
  const range = /^(\d+)-(\d+)$/.exec(field);
  if (range) return new Set(all.filter((value) => value >= Number(range[1]) && value <= Number(range[2])));
  return new Set(field.split(',').map(Number));
}

describe('validateSchedule', () => {
  test.each(['0 3 * * *', '*/10 * * * * *', '@daily', '', '  ', '0 0 L * *'])('takes %j', (expression) => {
    expect(validateSchedule(expression)).toBeUndefined();
  });

  test.each([
    ['every day', /5 or 6 fields|illegal|invalid/],
    ['* * * *', /expected 5 or 6 fields but got 4/],
    ['60 * * * *', /minute/],
    ['0 24 * * *', /hour/],
    ['0 0 31 2 *', /impossible/],
    ['0 0 * * mon-', /week day/],
  ])('tells what is wrong with %j', (expression, reason) => {
    expect(validateSchedule(expression)).toMatch(reason);
  });

  test('tells of a time zone that does not exist', () => {
    expect(validateSchedule('0 3 * * *', 'Mars/Olympus')).toMatch('"Mars/Olympus" is no time zone');
  });
});

describe('the longest gap between slots', () => {
  const from = utc('2026-06-01T12:00');
  const hours = (expression: string, timezone = 'UTC'): number | undefined => {
    const seconds = new CronSlots(expression, timezone).longestGapSeconds(from);
    return seconds === undefined ? undefined : seconds / 3_600;
  };

  test.each([
    ['every quarter of an hour', '*/15 * * * *', 0.25],
    ['daily', '0 3 * * *', 24],
    ['on working days, the weekend', '0 3 * * 1-5', 72],
    ['in office hours, the weekend', '*/30 9-17 * * 1-5', 63.5],
    ['monthly, the longest months', '0 3 1 * *', 31 * 24],
    ['yearly', '0 3 1 1 *', 365 * 24],
    ['on leap days', '0 3 29 2 *', 1_461 * 24],
  ])('is counted %s', (_name, expression, expected) => {
    expect(hours(expression)).toBe(expected);
  });

  test('counts the day when clocks go back', () => {
    expect(hours('0 3 * * *', 'Europe/Berlin')).toBe(25);
  });
});
