// When a cron expression is due in a time zone. node-cron parses the expression and matches its days. This
// file puts the times of a day on the time line, so that all replicas find the same slots, whatever their
// clocks say and whenever clocks change.
import { createTask, parse, type ParsedFields, type ScheduledTask, validateDetailed } from 'node-cron';

/** Far enough to find 29 February on a given weekday, even across a century year that is not a leap year. */
const maxDays = 41 * 366;
/** A yearly expression has two slots in it. */
const gapDays = 800;
/** More seconds than a day has: the slots of every expression cover more than one day. */
const maxGapSlots = 100_000;

/**
 * The error in the expression or the time zone; undefined if both are valid. An empty expression is valid and
 * means off.
 */
export function validateSchedule(expression: string, timezone = 'UTC'): string | undefined {
  try {
    new TimeZone(timezone);
  } catch {
    return `${JSON.stringify(timezone)} is no time zone that this Node.js knows, such as Europe/Berlin or UTC`;
  }
  if (expression.trim() === '') return undefined;
  const { valid, errors } = validateDetailed(expression);
  if (!valid) return errors.map(({ message }) => message).join('; ');
  const slots = new CronSlots(expression, timezone);
  return slots.next(1, new Date()).length === 0 ? 'no date matches it' : undefined;
}

/**
 * The slots of an expression. A daily slot comes once a day, also when clocks change: a slot in a skipped
 * hour is due at the change, a slot in a repeated hour is due the first time. With `*` for the hours, slots
 * follow elapsed time instead: every 15 minutes stays every 15 minutes.
 */
export class CronSlots {
  readonly #fields: ParsedFields;
  readonly #zone: TimeZone;
  /**
   * Matches days by node-cron's rules (L, W, #, names): a task for every second of those days, in UTC, that
   * is never started.
   */
  readonly #days: ScheduledTask;
  #known: { readonly at: number; readonly slot: Date } | undefined;

  /** @throws Error for what `validateSchedule` refuses */
  constructor(expression: string, timezone: string) {
    this.#fields = parse(expression);
    this.#zone = new TimeZone(timezone);
    const { dayOfMonth, month, dayOfWeek } = this.#fields;
    const days = `* * * ${dayOfMonth.join(',')} ${month.join(',')} ${dayOfWeek.join(',')}`;
    this.#days = createTask(days, () => undefined, { timezone: 'UTC' });
    // Removes it from node-cron's register of tasks; a destroyed task still matches.
    void this.#days.destroy();
  }

  /** The latest slot at or before the given time; undefined when there was none for decades. */
  latest(at: Date): Date | undefined {
    const second = Math.floor(at.getTime() / 1_000);
    // Called every few seconds, so the search goes back only to the last result.
    const known = this.#known && this.#known.at <= second ? this.#known : undefined;
    const found = this.#latestSince(second, known?.at);
    const slot = found === undefined ? known?.slot : new Date(found * 1_000);
    if (slot) this.#known = { at: second, slot };
    return slot;
  }

  /** The next `count` slots after the given time, fewer when there are none for decades. */
  next(count: number, after: Date): Date[] {
    const found: Date[] = [];
    for (const slot of this.#slotsAfter(after, maxDays)) {
      found.push(new Date(slot * 1_000));
      if (found.length >= count) break;
    }
    return found;
  }

  /**
   * The longest time between two neighbours among the slots of the next 800 days, or the next 100,000 slots
   * where there are more, in seconds. Undefined where there are fewer than two slots for decades.
   */
  longestGapSeconds(after: Date): number | undefined {
    const slots: number[] = [];
    for (const slot of this.#slotsAfter(after, gapDays)) {
      slots.push(slot);
      if (slots.length >= maxGapSlots) break;
    }
    const found = slots.length > 1 ? slots : this.next(2, after).map((slot) => slot.getTime() / 1_000);
    const gaps = found.slice(1).map((slot, index) => slot - (found[index] ?? slot));
    return gaps.length === 0 ? undefined : gaps.reduce((longest, gap) => Math.max(longest, gap));
  }

  /** The slots of that many days, in unix seconds, ascending. */
  *#slotsAfter(after: Date, days: number): Generator<number> {
    let last = Math.floor(after.getTime() / 1_000);
    const start = addDays(this.#zone.dayAt(last), -1);
    for (let day = 0; day < days; day += 1) {
      for (const slot of this.#slotsOn(addDays(start, day), last)) {
        // If a zone skips a whole day, that day has the same instant as the next one.
        if (slot <= last) continue;
        yield slot;
        last = slot;
      }
    }
  }

  #latestSince(second: number, since: number | undefined): number | undefined {
    const start = addDays(this.#zone.dayAt(second), 1);
    for (let days = 0; days < maxDays; days += 1) {
      const day = addDays(start, -days);
      // No zone is further from UTC than 15 hours.
      if (since !== undefined && midnight(day) + secondsPerDay + 15 * 3_600 < since) return undefined;
      let latest: number | undefined;
      for (const slot of this.#slotsOn(day, since)) {
        if (slot > second) break;
        if (since === undefined || slot > since) latest = slot;
      }
      if (latest !== undefined) return latest;
    }
    return undefined;
  }

  /**
   * Slots of a day in the zone, in unix seconds, ascending. Some slots at or before `after` may be left out.
   */
  *#slotsOn(day: Day, after = -Infinity): Generator<number> {
    const start = midnight(day);
    if (!this.#days.match(new Date((start + secondsPerDay / 2) * 1_000))) return;
    const isEveryHour = this.#fields.hour.length === 24;
    const stretches = this.#zone.stretchesAround(day);
    const afterTime = after + Math.min(...stretches.map(({ offset }) => offset)) - start;
    let localDone = -Infinity;
    for (const { from, to, offset } of stretches) {
      const localFrom = from + offset;
      let isSkippedDue = false;
      for (const time of this.#times(afterTime)) {
        const local = start + time;
        if (local >= to + offset) break;
        if (local < localFrom) {
          // The clocks went forward past this time: no clock showed it that day.
          isSkippedDue ||= local >= localDone;
        } else if (isEveryHour || local >= localDone) {
          if (isSkippedDue && !isEveryHour && local > localFrom) yield from;
          isSkippedDue = false;
          yield local - offset;
        }
      }
      if (isSkippedDue && !isEveryHour) yield from;
      localDone = to + offset;
    }
  }

  /** Seconds since midnight, ascending; without the hours that end before `after`. */
  *#times(after: number): Generator<number> {
    for (const hour of ascending(this.#fields.hour)) {
      if ((hour + 1) * 3_600 <= after) continue;
      for (const minute of ascending(this.#fields.minute)) {
        for (const second of ascending(this.#fields.second)) yield hour * 3_600 + minute * 60 + second;
      }
    }
  }
}

const ascending = (values: readonly number[]): readonly number[] => [...values].sort((a, b) => a - b);

// The wall clock of a time zone, in whole seconds. Pure but for Intl's zone data.

/** A calendar day; no time zone. */
interface Day {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
}

const secondsPerDay = 86_400;

/** Seconds since 1970 at midnight of the day, as if its time zone were UTC. */
const midnight = ({ year, month, day }: Day): number => Date.UTC(year, month - 1, day) / 1_000;

function addDays(day: Day, days: number): Day {
  const date = new Date((midnight(day) + days * secondsPerDay) * 1_000);
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
}

/** A stretch of time with one offset: local = UTC + offset. */
interface Stretch {
  /** Unix seconds, inclusive; -Infinity for the first. */
  readonly from: number;
  /** Unix seconds, exclusive; Infinity for the last. */
  readonly to: number;
  /** Seconds. */
  readonly offset: number;
}

class TimeZone {
  readonly #format: Intl.DateTimeFormat;

  /** @throws RangeError for a zone that is unknown here */
  constructor(readonly name: string) {
    this.#format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  }

  /** The calendar day in the zone at the given unix second. */
  dayAt(second: number): Day {
    const date = new Date((second + this.offsetAt(second)) * 1_000);
    return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
  }

  /** Offset of the zone from UTC in seconds at the given unix second. */
  offsetAt(second: number): number {
    const part: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
    for (const { type, value } of this.#format.formatToParts(new Date(second * 1_000)))
      part[type] = Number(value);
    const { year = NaN, month = NaN, day = NaN, hour = NaN, minute = NaN, second: seconds = NaN } = part;
    return Date.UTC(year, month - 1, day, hour, minute, seconds) / 1_000 - second;
  }

  /**
   * One stretch on most days, two when the clocks are changed about the day. Offsets are from -14 to +14
   * hours.
   */
  stretchesAround(day: Day): readonly Stretch[] {
    const start = midnight(day) - 15 * 3_600;
    const end = midnight(day) + 39 * 3_600;
    const before = this.offsetAt(start);
    const after = this.offsetAt(end);
    if (before === after) return [{ from: -Infinity, to: Infinity, offset: before }];
    const change = this.#changeBetween(start, end, before);
    return [
      { from: -Infinity, to: change, offset: before },
      { from: change, to: Infinity, offset: after },
    ];
  }

  /** First second at which the offset is no longer `before`. */
  #changeBetween(start: number, end: number, before: number): number {
    let [still, changed] = [start, end];
    while (changed - still > 1) {
      const middle = Math.floor((still + changed) / 2);
      if (this.offsetAt(middle) === before) still = middle;
      else changed = middle;
    }
    return changed;
  }
}
