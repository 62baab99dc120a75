// When something about an object was told, and which of two tellings came later. A telling is an answer of
// Stripe or an entry of a batch. Pure, so that its laws can be tested exhaustively.
//
// | both have a position in one order, neither was dated by its caller | the positions decide        |
// | one interval ends before the other begins                          | the times decide            |
// | the intervals overlap, positions in one order                      | the positions decide        |
// | the intervals overlap otherwise                                    | unknown                     |
import type { Observed } from './ports.js';

/** The interval of MongoDB's clock in which it was true, and where it stands among other tellings. */
export interface Telling extends Observed {
  /**
   * Place in an order that no clock decides, `order:place`; absent for answers of Stripe. Two places of one
   * order compare as text.
   */
  readonly position?: string | undefined;
  /** The caller said when it was true, so the order of insertions does not decide alone. */
  readonly isDated?: boolean | undefined;
  /** Its time lies ahead of MongoDB's clock, which has been set back since. The time says nothing. */
  readonly isAhead?: boolean | undefined;
}

/** `same`: it is the very same telling. `unknown`: neither is known to be later. */
export type Order = 'later' | 'earlier' | 'same' | 'unknown';

/** Where `a` stands against `b`. */
export function compare(a: Telling, b: Telling): Order {
  const byPosition = comparePositions(a.position, b.position);
  if (byPosition === 'same') return 'same';
  if (byPosition !== 'unknown' && !a.isDated && !b.isDated) return byPosition;
  if (a.isAhead || b.isAhead) return byPosition;
  if (a.from >= endOf(b)) return 'later';
  if (endOf(a) <= b.from) return 'earlier';
  return byPosition;
}

/**
 * A moment is given in whole milliseconds, and its true time may be up to one later. Documents of earlier
 * versions hold moments as empty intervals.
 */
const endOf = ({ from, to }: Observed): Date => (to > from ? to : afterMs(from));

function comparePositions(a: string | undefined, b: string | undefined): Order {
  if (a === undefined || b === undefined) return 'unknown';
  if (a === b) return 'same';
  if (orderOf(a) !== orderOf(b)) return 'unknown';
  return a > b ? 'later' : 'earlier';
}

const orderOf = (position: string): string => position.slice(0, position.indexOf(':'));

/** Fields that one part told, since the whole object was last told. */
export interface ToldFields {
  readonly fields: readonly string[];
  readonly telling: Telling;
}

/** Where a batch stands among all insertions: the change event of its insertion. */
export interface Insertion {
  /** Resume token of the event; tokens sort as text in the order of the stream. */
  readonly token: string;
  /** Wall-clock time of the event on MongoDB's clock. */
  readonly at: Date;
}

export type InsertionOrder =
  | { readonly kind: 'known'; readonly insertion: Insertion }
  /** Only an interval of the insertion is known; `to` is its last millisecond. */
  | {
      readonly kind: 'within';
      readonly from: Date;
      readonly to: Date;
      readonly position?: string | undefined;
    };

/** When a batch was told. @param observedAt when it was true according to its caller */
export function toldOf(order: InsertionOrder, observedAt: Date | undefined): Telling {
  const inserted = intervalOf(order);
  const { position } = inserted;
  // Nobody inserts what is true later.
  if (!observedAt || afterMs(observedAt) >= inserted.to)
    return { from: inserted.from, to: inserted.to, position };
  return { from: observedAt, to: afterMs(observedAt), position, isDated: true };
}

function intervalOf(order: InsertionOrder): Telling {
  if (order.kind === 'within') return { from: order.from, to: afterMs(order.to), position: order.position };
  const { at, token } = order.insertion;
  return { from: at, to: afterMs(at), position: `stream:${token}` };
}

/** A time in whole milliseconds may be up to one later. */
const afterMs = (time: Date): Date => new Date(time.getTime() + 1);
