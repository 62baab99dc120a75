// The order of reads: whether a read replaces what is stored. Pure, so that its laws can be tested
// exhaustively.
//
// | stored                         | read                       | decision            |
// | ------------------------------ | -------------------------- | ------------------- |
// | nothing                        | anything                   | insert              |
// | deletion confirmed by Stripe   | anything                   | refused             |
// | hash h, read from 10 s to 20 s | hash h, at any time        | unchanged           |
// | hash h, read from 10 s to 20 s | another, from 20 s to 30 s | replace             |
// | hash h, read from 10 s to 20 s | another, from 5 s to 10 s  | stale               |
// | hash h, read from 10 s to 20 s | another, from 15 s to 25 s | overlap             |
// | no hash, as parts were merged  | whole or part              | as for another hash |
// | no interval                    | another                    | replace             |
// | marked by a request            | anything                   | as without the mark |
import type { Head, ListedHead, Observed } from './ports.js';

export type Decision =
  | 'insert'
  | 'replace'
  | 'unchanged'
  /** Stripe answered the read before the stored one was sent. */
  | 'stale'
  /** Stripe has confirmed the deletion, which is final. */
  | 'refused'
  /** The two reads overlap and differ, so neither is known to be newer. */
  | 'overlap';

/**
 * An older answer is read again instead of written: another state may have been stored and replaced
 * meanwhile.
 */
export const maxAnswerAgeMs = 30_000;

/** The decision that does not depend on the order of reads; undefined where it does. */
export function decideWithoutOrder(
  head: ListedHead | undefined,
  hash: string | undefined,
): 'insert' | 'refused' | 'unchanged' | undefined {
  if (!head) return 'insert';
  if (head.deletedBy === 'stripe') return 'refused';
  return hash !== undefined && head.hash === hash ? 'unchanged' : undefined;
}

/**
 * Stripe computed an answer at some moment between `from` and `to`. A read replaces the stored one if it was
 * sent at or after the stored `to`. It is stale if it was answered at or before the stored `from`.
 * @param hash of the object that was read; undefined for a part, which never equals a whole object
 */
export function decide(
  head: Head | undefined,
  read: { hash: string | undefined; observed: Observed },
): Decision {
  const decided = decideWithoutOrder(head, read.hash);
  if (decided) return decided;
  const stored = head?.observed;
  if (!stored || read.observed.from >= stored.to) return 'replace';
  if (read.observed.to <= stored.from) return 'stale';
  return 'overlap';
}
