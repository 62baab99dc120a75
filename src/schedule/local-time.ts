// Wall clock of a time zone, in whole seconds: what a day there consists of when its clocks are changed. Pure but for Intl's zone data.

/** A calendar day; no time zone. */
export interface Day {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
}

export const secondsPerDay = 86_400;

/** Seconds since 1970 at midnight of the day, as if its time zone were UTC. */
export const midnight = ({ year, month, day }: Day): number => Date.UTC(year, month - 1, day) / 1_000;

export function addDays(day: Day, days: number): Day {
  const date = new Date((midnight(day) + days * secondsPerDay) * 1_000);
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
}

/** A stretch of time in which the zone's clocks run evenly: local = UTC + offset. */
export interface Stretch {
  /** Unix seconds, inclusive; -Infinity for the first. */
  readonly from: number;
  /** Unix seconds, exclusive; Infinity for the last. */
  readonly to: number;
  /** Seconds. */
  readonly offset: number;
}

export class TimeZone {
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

  /** The day there at the given unix second. */
  dayAt(second: number): Day {
    const date = new Date((second + this.offsetAt(second)) * 1_000);
    return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
  }

  /** Seconds that its clocks are ahead of UTC at the given unix second. */
  offsetAt(second: number): number {
    const part: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
    for (const { type, value } of this.#format.formatToParts(new Date(second * 1_000)))
      part[type] = Number(value);
    const { year = NaN, month = NaN, day = NaN, hour = NaN, minute = NaN, second: seconds = NaN } = part;
    return Date.UTC(year, month - 1, day, hour, minute, seconds) / 1_000 - second;
  }

  /** One stretch on most days, two when the clocks are changed about the day. Offsets are from -14 to +14 hours. */
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
