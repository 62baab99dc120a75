// The order of reads: whether what was read replaces what is stored. Pure, so that its laws can be tested exhaustively.
import type { Head, ListedHead, Observed } from './ports.js';

export type Decision =
  | 'insert'
  | 'replace'
  | 'unchanged'
  /** What was read was answered before what is stored was asked for. */
  | 'stale'
  /** Stripe has confirmed the deletion, which is final. */
  | 'refused'
  /** The two reads overlap and differ: nobody can say which is newer. */
  | 'overlap';

/** Older answers are read again rather than written: a stored state may have come and gone meanwhile. */
export const maxAnswerAgeMs = 30_000;

/** What can be decided whenever it was read; undefined where the order of reads tells. */
export function decideWithoutOrder(
  head: ListedHead | undefined,
  hash: string | undefined,
): 'insert' | 'refused' | 'unchanged' | undefined {
  if (!head) return 'insert';
  if (head.deletedBy === 'stripe') return 'refused';
  return hash !== undefined && head.hash === hash ? 'unchanged' : undefined;
}

/**
 * Stripe answers at some moment between `from` and `to`. A read replaces the stored one if it was let go at or after the stored
 * `to`; it is dropped if it was answered at or before the stored `from`.
 * @param hash of what was read; undefined for a part, which is never equal to a whole
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
