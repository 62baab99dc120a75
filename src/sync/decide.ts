// Whether something told about an object replaces what is stored. Pure, so that its laws can be tested
// exhaustively. telling.ts says which of two tellings came later.
//
// | stored                       | told                           | decision                       |
// | ---------------------------- | ------------------------------ | ------------------------------ |
// | nothing                      | anything                       | created                        |
// | deletion confirmed by Stripe | anything                       | stale                          |
// | an equal hash                | the whole object, by a read    | unchanged                      |
// | an equal hash                | the whole object, by a batch   | unchanged, its order recorded  |
// | whole, told earlier          | another whole object           | updated                        |
// | whole, told later            | another whole object           | stale                          |
// | whole, not known which       | another whole object           | overlap                        |
// | fields that parts told later | the whole object               | these fields stay as they are  |
// | fields                       | fields                         | each by its own order          |
// | marked by a request          | anything                       | as without the mark            |
import { canonicalJson } from './canonical.js';
import type { Head, ListedHead, Stored, StripeObject } from './ports.js';
import { compare, type Order, type Telling, type ToldFields } from './telling.js';

/** Why data is not applied. */
type StaleCode =
  'deleted_in_stripe' | 'older_than_read' | 'older_than_batch' | 'older_than_scan' | 'order_unknown';

interface Unchanged {
  readonly kind: 'unchanged';
  /** It is stored already because an earlier write of the very same has been applied. */
  readonly isOwn?: true;
}

export type Decision =
  /** To be written. `kept`: what parts told later than the whole object that is written. */
  | {
      readonly kind: 'write';
      readonly outcome: 'created' | 'updated' | 'unchanged';
      readonly kept: readonly ToldFields[];
    }
  | Unchanged
  | { readonly kind: 'stale'; readonly code: StaleCode }
  /** The stored object and this one differ, and neither is known to be newer. */
  | { readonly kind: 'overlap' };

/** A whole object that Stripe or a batch told. */
export interface Whole {
  readonly hash: string;
  readonly observed: Telling;
}

/**
 * An older answer is read again instead of written: another state may have been stored and replaced
 * meanwhile.
 */
export const maxAnswerAgeMs = 30_000;

/** Whether the same is stored. Documents of earlier versions carry no name of a write. */
export const isSameVersion = (a: Head | undefined, b: Head | undefined): boolean =>
  a === b ||
  (a !== undefined &&
    b !== undefined &&
    a.writeId === b.writeId &&
    a.writtenAt?.getTime() === b.writtenAt?.getTime() &&
    a.deletedBy === b.deletedBy);

/** The decision on a read that does not depend on the order; undefined where it does. */
export function decideWithoutOrder(head: ListedHead | undefined, hash: string): Decision | undefined {
  if (!head) return { kind: 'write', outcome: 'created', kept: [] };
  if (head.deletedBy === 'stripe') return { kind: 'stale', code: 'deleted_in_stripe' };
  return head.hash === hash ? { kind: 'unchanged' } : undefined;
}

/**
 * Decides on an answer of Stripe.
 * @param isLater it was asked for after this head had been read, so it is later whatever the times say
 */
export function decideRead(head: Head | undefined, read: Whole, isLater = false): Decision {
  const decided = decideWithoutOrder(head, read.hash);
  if (decided || !head) return decided ?? { kind: 'overlap' };
  if (isLater) return { kind: 'write', outcome: 'updated', kept: [] };
  const observed = asSeen(read.observed, head);
  switch (orderOf(observed, head.observed)) {
    case 'later': {
      const orders = head.told.map(({ telling }) => compare(observed, telling));
      if (orders.includes('unknown') || (observed.isRepeated && orders.includes('earlier')))
        return { kind: 'overlap' };
      const kept = head.told.filter((_, index) => orders[index] !== 'later');
      return { kind: 'write', outcome: 'updated', kept };
    }
    case 'earlier':
      return observed.isRepeated ? { kind: 'overlap' } : { kind: 'stale', code: staleCodeOf(head.observed) };
    default:
      return { kind: 'overlap' };
  }
}

/**
 * Decides on a whole object of a batch. An equal object is written all the same if it was told later: its
 * order counts against batches that are worked on later but were inserted before.
 * @param isLater as for a read
 */
export function decideBatch(head: Head | undefined, entry: Whole, isLater = false): Decision {
  const decided = decideWithoutOrder(head, entry.hash);
  if (!head || decided?.kind === 'stale') return decided ?? { kind: 'overlap' };
  const isEqual = decided?.kind === 'unchanged';
  const observed = asSeen(entry.observed, head);
  const order = isLater ? 'later' : orderOf(observed, head.observed);
  if (order === 'later') {
    const isKept = ({ telling }: ToldFields): boolean => compare(observed, telling) !== 'later';
    const kept = isLater ? [] : head.told.filter(isKept);
    return { kind: 'write', outcome: isEqual ? 'unchanged' : 'updated', kept };
  }
  if (order === 'same') return { kind: 'unchanged', isOwn: true };
  if (isEqual) return { kind: 'unchanged' };
  return order === 'earlier' ? { kind: 'stale', code: staleCodeOf(head.observed) } : { kind: 'overlap' };
}

export type PartDecision =
  | {
      readonly kind: 'write';
      readonly outcome: 'created' | 'updated' | 'unchanged';
      /** Those of the part that are told later than what is stored. */
      readonly fields: StripeObject;
      readonly told: readonly ToldFields[];
    }
  | Unchanged
  | { readonly kind: 'stale'; readonly code: StaleCode };

/** Decides on a part of an object, field by field. @param isLater as for a read */
export function decidePart(
  stored: Stored | undefined,
  part: StripeObject,
  telling: Telling,
  isLater = false,
): PartDecision {
  const { id, ...fields } = part;
  const keys = Object.keys(fields);
  if (!stored) {
    const told = keys.length > 0 ? [{ fields: keys, telling }] : [];
    return { kind: 'write', outcome: 'created', fields: part, told };
  }
  const { head } = stored;
  if (head.deletedBy === 'stripe') return { kind: 'stale', code: 'deleted_in_stripe' };
  const seen = asSeen(telling, head);
  const lost: { readonly order: Order; readonly to: Telling | undefined }[] = [];
  const won = keys.filter((key) => {
    const to = head.told.find(({ fields: told }) => told.includes(key))?.telling ?? head.observed;
    const order = isLater ? 'later' : orderOf(seen, to);
    if (order !== 'later') lost.push({ order, to });
    return order === 'later';
  });
  if (won.length === 0) return partLost(lost);
  const isStored = won.every(
    (key) => Object.hasOwn(stored.fields, key) && isEqual(stored.fields[key], part[key]),
  );
  const winning = Object.fromEntries(won.map((key) => [key, part[key]]));
  return {
    kind: 'write',
    outcome: isStored ? 'unchanged' : 'updated',
    fields: { ...winning, id },
    told: [...withoutFields(head.told, won), { fields: won, telling }],
  };
}

function partLost(
  lost: readonly { readonly order: Order; readonly to: Telling | undefined }[],
): PartDecision {
  if (lost.some(({ order }) => order === 'same')) return { kind: 'unchanged', isOwn: true };
  const other = lost[0];
  if (!other) return { kind: 'unchanged' };
  return { kind: 'stale', code: other.order === 'unknown' ? 'order_unknown' : staleCodeOf(other.to) };
}

/** The same fields, without those that are told anew. */
const withoutFields = (told: readonly ToldFields[], anew: readonly string[]): ToldFields[] =>
  told
    .map(({ fields, telling }) => ({ fields: fields.filter((field) => !anew.includes(field)), telling }))
    .filter(({ fields }) => fields.length > 0);

const isEqual = (a: unknown, b: unknown): boolean => canonicalJson(a) === canonicalJson(b);

/** A telling ahead of MongoDB's clock: the clock has been set back since, so its time says nothing. */
const asSeen = (telling: Telling, { seenAt }: Head): Telling =>
  seenAt && telling.from > seenAt ? { ...telling, isAhead: true } : telling;

/** Anything is later than nothing. */
const orderOf = (telling: Telling, to: Telling | undefined): Order => (to ? compare(telling, to) : 'later');

const staleCodeOf = (to: Telling | undefined): StaleCode =>
  to?.position === undefined ? 'older_than_read' : 'older_than_batch';
